// Asks one question and prints the answer.
// OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any MODEL=demo/chat-large node chat.mjs
import OpenAI from "openai";

const client = new OpenAI();
const answer = await client.chat.completions.create({
  model: process.env.MODEL ?? "gpt-4o-mini",
  messages: [
    { role: "system", content: "Answer in one sentence." },
    { role: "user", content: "Why is the sky blue?" },
  ],
});
console.log(answer.choices[0].message.content);
if (answer.usage) {
  console.log(`(${answer.usage.prompt_tokens} tokens in, ${answer.usage.completion_tokens} out)`);
}
