// Lets the model call a function of ours, and answer with what it returns.
// OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any MODEL=demo/chat-large node tools.mjs
import OpenAI from "openai";

// Ours; a real one would ask a weather service.
const getWeather = ({ city, unit }) => ({ city, temperature: unit === "celsius" ? 21 : 70, unit });

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city now.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
      required: ["city", "unit"],
      additionalProperties: false,
    },
  },
};

const client = new OpenAI();
const model = process.env.MODEL ?? "gpt-4o-mini";
const messages = [{ role: "user", content: "What is the weather in Paris, in celsius?" }];
for (;;) {
  // Streamed: the SDK puts the pieces of the calls together.
  const runner = client.chat.completions.stream({ model, messages, tools: [weather] });
  const { message } = (await runner.finalChatCompletion()).choices[0];
  if (!message.tool_calls?.length) {
    console.log(message.content);
    break;
  }
  messages.push({ role: "assistant", tool_calls: message.tool_calls });
  for (const { id, function: called } of message.tool_calls) {
    console.log(`calls ${called.name}(${called.arguments})`);
    const result = getWeather(JSON.parse(called.arguments));
    messages.push({ role: "tool", tool_call_id: id, content: JSON.stringify(result) });
  }
}
