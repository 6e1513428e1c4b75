// Finds the text that is closest to a question.
// OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any EMBEDDING_MODEL=demo/embed-small node embeddings.mjs
import OpenAI from "openai";

const texts = [
  "The invoice is due within thirty days.",
  "The cat sleeps on the warm roof.",
  "Our office is closed on public holidays.",
];
const question = "Where does the cat sleep?";

const client = new OpenAI();
const answer = await client.embeddings.create({
  model: process.env.EMBEDDING_MODEL ?? "text-embedding-3-small",
  input: [question, ...texts],
});
const [asked, ...vectors] = answer.data.map((item) => item.embedding);
const scored = texts.map((text, at) => [vectors[at].reduce((sum, value, i) => sum + value * asked[i], 0), text]);
for (const [score, text] of scored.sort(([one], [other]) => other - one)) {
  console.log(`${score.toFixed(3).padStart(6)}  ${text}`);
}
