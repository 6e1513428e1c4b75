// Asks a question every few seconds, in a stream, and prints what comes. It knows the OpenAI SDK and nothing else.
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.MODEL ?? "demo/chat-small";

async function ask() {
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Why is the sky blue?" }],
    stream: true,
  });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  process.stdout.write("\n");
}

process.on("SIGTERM", () => process.exit(0));
for (;;) {
  await ask().catch((error) => console.error(`${error.name}: ${error.message}`));
  await new Promise((resolve) => setTimeout(resolve, 5000));
}
