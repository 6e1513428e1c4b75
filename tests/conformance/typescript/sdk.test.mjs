// The official TypeScript SDK through Mimic, with the demo backend behind it. OPENAI_BASE_URL says where; PIECEMEAL
// whether that backend streams (1), or gives its answer at once (0).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI, { APIConnectionError, APIError, BadRequestError, NotFoundError } from 'openai';

const client = new OpenAI({ maxRetries: 0 });
const piecemeal = process.env.PIECEMEAL === '1';
const model = 'demo/chat-small';
const messages = [{ role: 'user', content: 'What is the weather in Paris?' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } },
      required: ['city', 'unit'],
      additionalProperties: false,
    },
  },
};
const tools = [weather];

function assertArguments(text) {
  const given = JSON.parse(text);
  assert.equal(given.city, 'Paris');
  assert.ok(['celsius', 'fahrenheit'].includes(given.unit));
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test('a chat completion is answered', async () => {
  const answer = await client.chat.completions.create({ model, messages });
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].message.role, 'assistant');
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('a streamed chat has the same words as the plain one', async () => {
  const plain = await client.chat.completions.create({ model, messages });
  const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true }));
  const words = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '');
  assert.equal(words.filter(Boolean).length > 1, piecemeal);
  assert.equal(words.join(''), plain.choices[0].message.content);
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
});

test('a stream reports its usage when it is asked to', async () => {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true },
  });
  const last = (await collect(stream)).at(-1);
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
});

test('the SDK assembles a stream with its own helper', async () => {
  const runner = client.chat.completions.stream({ model, messages });
  const answer = await runner.finalChatCompletion();
  assert.ok(answer.choices[0].message.content.length > 0);
});

test('a tool call comes with its arguments', async () => {
  const answer = await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(answer.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, 'get_weather');
  assertArguments(call.function.arguments);
});

test('the pieces of a streamed tool call make up its arguments', async () => {
  const stream = await client.chat.completions.create({
    model, messages, tools, tool_choice: 'required', stream: true,
  });
  const chunks = await collect(stream);
  const pieces = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
  assert.equal(pieces.length > 1, piecemeal);
  assert.ok(pieces.every((piece) => piece.index === 0));
  assert.ok(pieces[0].id);
  assert.equal(pieces[0].function.name, 'get_weather');
  assertArguments(pieces.map((piece) => piece.function?.arguments ?? '').join(''));
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
});

test('the result of a tool goes back and is answered with words', async () => {
  const first = await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
  const { message } = first.choices[0];
  const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '{"degrees": 21}' };
  const answer = await client.chat.completions.create({ model, tools, messages: [...messages, message, result] });
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.ok(answer.choices[0].message.content.length > 0);
});

test('JSON mode answers with a JSON object', async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: 'Describe Paris as JSON.' }],
    response_format: { type: 'json_object' },
  });
  const content = JSON.parse(answer.choices[0].message.content);
  assert.equal(typeof content, 'object');
  assert.ok(content !== null && !Array.isArray(content));
});

test('embeddings are the same by default (base64), as base64 and as floats', async () => {
  const input = ['one text', 'another text'];
  const usual = await client.embeddings.create({ model: 'demo/embed-small', input });
  const floats = await client.embeddings.create({ model: 'demo/embed-small', input, encoding_format: 'float' });
  const base64 = await client.embeddings.create({ model: 'demo/embed-small', input, encoding_format: 'base64' });
  assert.deepEqual(usual.data.map((item) => item.index), [0, 1]);
  assert.notDeepEqual(usual.data[0].embedding, usual.data[1].embedding);
  for (const [at, item] of usual.data.entries()) {
    assert.ok(item.embedding.length > 1);
    const bytes = Buffer.from(base64.data[at].embedding, 'base64');
    assert.equal(bytes.length, 4 * item.embedding.length);
    item.embedding.forEach((value, place) => {
      assert.ok(Math.abs(value - floats.data[at].embedding[place]) < 1e-6);
      assert.ok(Math.abs(value - bytes.readFloatLE(4 * place)) < 1e-6);
    });
  }
});

test('embeddings have as many dimensions as were asked for', async () => {
  const answer = await client.embeddings.create({ model: 'demo/embed-small', input: 'one text', dimensions: 7 });
  assert.equal(answer.data[0].embedding.length, 7);
});

test('models are listed, and one is retrieved by an id that contains a slash', async () => {
  const ids = (await collect(await client.models.list())).map((listed) => listed.id);
  assert.ok(ids.includes(model));
  const withSlash = ids.find((id) => id.includes('/'));
  assert.ok(withSlash, `no id with a slash in ${ids}`);
  assert.equal((await client.models.retrieve(withSlash)).id, withSlash);
});

test('an unknown model is NotFoundError with the code model_not_found', async () => {
  await assert.rejects(client.models.retrieve('org/no-such-model'), (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return true;
  });
});

test("the backend's refusal arrives as BadRequestError", async () => {
  await assert.rejects(client.chat.completions.create({ messages }), BadRequestError);
});

const whole = !piecemeal && 'this backend gives a whole answer, which has no such end';
test('a stream that lacks its end raises APIError with a code', { skip: whole }, async () => {
  const headers = { 'x-demo-fault': 'no-done' };
  const stream = await client.chat.completions.create({ model, messages, stream: true }, { headers });
  let pieces = 0;
  await assert.rejects(
    async () => {
      for await (const chunk of stream) pieces += chunk.choices.length;
    },
    (error) => {
      assert.ok(error instanceof APIError && !(error instanceof APIConnectionError), String(error));
      assert.equal(error.code, 'upstream_bad_response');
      return true;
    },
  );
  assert.ok(pieces > 0);
});

test('an answer that is cut in the middle raises APIError with a code', async () => {
  const headers = { 'x-demo-fault': 'cut-mid' };
  const cut = async () => collect(await client.chat.completions.create({ model, messages, stream: true }, { headers }));
  await assert.rejects(cut, (error) => {
    assert.ok(error instanceof APIError && !(error instanceof APIConnectionError), String(error));
    assert.equal(error.code, 'upstream_bad_response');
    return true;
  });
});
