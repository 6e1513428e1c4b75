// Asks for the status every two seconds and shows it. A hidden tab asks for nothing.

const PERIOD_MS = 2000;
const PATIENCE_MS = 5000;
const FEW_CALLS = 10;
const LEVEL_WORDS = { good: "OK", warning: "Attention", bad: "Fault", unknown: "?" };
const STANDING_WORDS = {
  mimic: { good: "Works", warning: "Needs attention", bad: "Fault here" },
  token_service: { good: "Works", warning: "Needs attention", bad: "Fault here", unknown: "Not asked yet", unused: "Not used" },
  backend: { good: "Works", warning: "Needs attention", bad: "Fault here", unknown: "No calls lately" },
};
const TRIGGERS = { startup: "first token", proactive: "due", expired: "expired", unauthorized: "refused by the backend", config: "new secret" };
const RESULTS = { success: "granted", rejected: "secret refused", throttled: "too many requests", http_error: "error", redirected: "redirected elsewhere", empty: "empty answer", not_json: "answer is no JSON", no_token: "no token in the answer", error_answer: "error in the answer", bad_response: "unusable answer", timeout: "no answer in time", unreachable: "unreachable", tls: "TLS failed", lost: "refresh token lost" };
const BREAKERS = { off: "off", closed: "closed, calls pass", open: "open, calls are refused", half_open: "trying one call" };
const ICONS = { good: "1a8a48", warning: "d18b00", bad: "d1352a", unknown: "8a93a0" };

const view = { status: null, received: 0, lostAt: null, lostWhy: "", paused: false, failuresOnly: false, allCalls: false, language: "Python", model: null, configOf: null };
let timer = null;

// ---- asking

async function poll() {
  clearTimeout(timer);
  timer = null;
  try {
    const answer = await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw await refusal(answer);
    view.status = await answer.json();
    view.received = Date.now();
    view.lostAt = null;
  } catch (error) {
    view.lostAt ??= Date.now();
    view.lostWhy = error instanceof Refusal ? error.message : "";
  }
  render();
  schedule();
}

class Refusal extends Error {}

async function refusal(answer) {
  const body = await answer.json().catch(() => null);
  return new Refusal(`It answers ${answer.status}: ${body?.error?.message ?? answer.statusText}`);
}

function schedule() {
  if (!document.hidden && !view.paused && timer === null) timer = setTimeout(poll, PERIOD_MS);
}

function pause(paused) {
  view.paused = paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Go on" : "Pause");
  clearTimeout(timer);
  timer = null;
  if (paused) tick();
  else poll();
}

// ---- showing

function render() {
  document.body.classList.toggle("stale", view.lostAt !== null);
  renderVerdict();
  if (view.status !== null && view.lostAt === null) {
    const status = view.status;
    renderParties(status);
    renderPlots(status.plots);
    renderToken(status.token);
    renderLive(status.live);
    renderCalls(status);
    renderSnippet(status.api);
    setText(byId("version"), status.version);
    if (byId("config").open) loadConfig();
  }
  tick();
}

function renderVerdict() {
  const findings = view.lostAt === null ? view.status.findings : [lost()];
  const [verdict, ...others] = findings;
  byId("verdict").dataset.level = verdict.level;
  byId("verdict-mark").dataset.level = verdict.level;
  setText(byId("verdict-sentence"), told(verdict));
  setText(byId("verdict-advice"), verdict.advice);
  show(byId("verdict-advice"), Boolean(verdict.advice));
  keep(byId("findings"), others, (finding) => finding.sentence, () => {
    const item = make("li");
    const text = make("div");
    text.append(make("span"), make("span", "muted"));
    item.append(make("span", "mark"), text);
    return item;
  }, (item, finding) => {
    item.firstChild.dataset.level = finding.until ? "unused" : finding.level;
    setText(item.lastChild.firstChild, told(finding));
    setText(item.lastChild.lastChild, finding.advice);
  });
  document.title = `${LEVEL_WORDS[verdict.level]}: ${verdict.sentence} - Mimic`;
  byId("icon").href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#${ICONS[verdict.level]}"/></svg>`)}`;
}

function lost() {
  const advice = view.lostWhy || "Has it ended? kubectl port-forward ends with its pod, too. This page goes on asking and comes back by itself.";
  const from = view.status === null ? "" : ` What stands below is from ${clock(view.received / 1000)}.`;
  return { level: "bad", sentence: "Mimic does not answer this page", since: view.lostAt / 1000, until: null, advice: advice + from };
}

function told(finding) {
  if (finding.since) return `${finding.sentence} since ${clock(finding.since, false)}`;
  if (finding.until) return `${finding.sentence}, last at ${clock(finding.until)}`;
  return finding.sentence;
}

function renderParties(status) {
  const { lately, token, standings, places } = status;
  const failed = lately.failed ? `, ${lately.failed.toLocaleString("en")} failed` : "";
  const [last] = token.refreshes;
  party("mimic", standings, mimicFacts(status, status.now));
  const at = (place) => (place === null ? "" : `${place}. `);
  party("token_service", standings, !token.required ? "The settings give the token, or none is sent." : last
    ? `${at(places.token_service)}Last asked at ${clock(last.started)}: ${RESULTS[last.result]}, in ${duration(last.duration_seconds)}.`
    : `${at(places.token_service)}It was not asked yet.`);
  party("backend", standings, at(places.backend) + (lately.asked
    ? `${count(lately.asked, "call", "calls")} in 5 minutes${failed}; half within ${duration(lately.p50)}, 95 % within ${duration(lately.p95)}.`
    : "No calls in the last 5 minutes."));
  keep(byId("conditions"), status.conditions, (condition) => condition.name, () => {
    const item = make("li");
    item.append(make("span", "mark"), make("span"));
    return item;
  }, (item, condition) => {
    item.firstChild.dataset.level = condition.ok ? "good" : "bad";
    setText(item.lastChild, condition.name);
    item.title = condition.reason ?? "";
    item.setAttribute("aria-label", `${condition.name}: ${condition.ok ? "holds" : condition.reason ?? "does not hold"}`);
  });
}

function mimicFacts(status, now) {
  const running = status.live.exchanges ? `${count(status.live.exchanges, "call is", "calls are")} running` : "no call is running";
  return `${status.ready ? "Ready" : "Not ready"}, up ${span(now - status.started)}; ${running}.`;
}

function party(name, standings, facts) {
  const section = byId(`party-${name}`);
  const standing = section.querySelector(".standing");
  if (!standing.firstChild) standing.append(make("span", "mark"), make("span"));
  standing.firstChild.dataset.level = standings[name];
  standing.firstChild.setAttribute("aria-hidden", "true");
  setText(standing.lastChild, STANDING_WORDS[name][standings[name]]);
  setText(section.querySelector(".facts"), facts);
}

const plots = {
  calls: new Plot(byId("plots"), "Calls per second", [{ name: "calls", ink: "accent", area: true }, { name: "failures", ink: "bad", area: true, quiet: true }], linear, rate),
  latency: new Plot(byId("plots"), "Duration of calls", [{ name: "half within", ink: "accent" }, { name: "95 % within", ink: "second" }], logarithmic, duration),
  first: new Plot(byId("plots"), "Time to the first chunk of streams", [{ name: "half within", ink: "accent" }, { name: "95 % within", ink: "second" }], logarithmic, duration),
};

function renderPlots(points) {
  const last = points.calls.length - 1;
  const moments = points.calls.map((_, index) => points.end - points.last_seconds - (last - index - 1) * points.bucket_seconds);
  moments[last] = points.end;
  // A bucket that has just begun says little yet.
  const seconds = points.calls.map((_, index) => (index === last ? Math.max(points.last_seconds, 2) : points.bucket_seconds));
  const perSecond = (column) => column.map((number, index) => number / seconds[index]);
  const peak = (column) => column.reduce((most, value, index) => (value !== null && (most < 0 || value > column[most]) ? index : most), -1);
  const summary = (column, word) => {
    const most = peak(column);
    return most < 0 || column[most] === 0 ? "Nothing in this time." : `Highest: ${word(column[most])} at ${clock(moments[most], false)}.`;
  };
  const calls = perSecond(points.calls);
  plots.calls.draw([calls, perSecond(points.failures)], moments, summary(calls, rate));
  plots.latency.draw([points.p50, points.p95], moments, summary(points.p95, duration));
  plots.first.draw([points.first_p50, points.first_p95], moments, summary(points.first_p95, duration));
}

function facts(list, entries) {
  keep(list, entries, ([name]) => name, ([name]) => {
    const item = make("div");
    item.append(make("dt", "", name), make("dd"));
    return item;
  }, (item, [, value]) => setText(item.lastChild, value));
}

function renderToken(token) {
  setText(byId("token-trouble"), token.trouble ?? "");
  show(byId("token-trouble"), Boolean(token.trouble));
  const refreshes = token.refreshes;
  show(byId("refreshes"), refreshes.length > 0);
  show(byId("refreshes-empty"), refreshes.length === 0);
  setText(byId("refreshes-empty"), token.required ? "None yet." : "No token service is asked.");
  keep(byId("refreshes").tBodies[0], refreshes, (refresh) => `${refresh.started.toFixed(2)} ${refresh.trigger}`,
    () => cells(make("tr"), ["", "", "", "#", "#"]),
    (row, refresh) => {
      const [time, why, result, took, waited] = row.children;
      fill(time, clock(refresh.started), "", "nowrap");
      fill(why, TRIGGERS[refresh.trigger]);
      const good = refresh.result === "success";
      const more = good ? (refresh.lifetime_seconds === null ? "" : `, lives ${span(refresh.lifetime_seconds)}`) : "";
      const status = refresh.status === null ? "" : ` (${refresh.status})`;
      fill(result, `${RESULTS[refresh.result]}${good ? "" : status}${more}`, "", good ? "" : "bad");
      fill(took, duration(refresh.duration_seconds), "", "nowrap");
      fill(waited, refresh.waiters ? count(refresh.waiters, "call", "calls") : "-");
    });
}

// What changes from second to second.
function tick() {
  if (view.status === null) return;
  const age = (Date.now() - view.received) / 1000;
  const now = view.status.now + age;
  setText(byId("updated"), view.paused ? `paused at ${clock(view.received / 1000)}` : view.lostAt !== null ? `no answer since ${clock(view.lostAt / 1000)}` : `updated ${clock(view.received / 1000)}`);
  if (view.lostAt !== null) return;
  setText(byId("party-mimic").querySelector(".facts"), mimicFacts(view.status, now));
  tickToken(view.status.token, now);
}

function tickToken(token, now) {
  const big = byId("token-left");
  if (!big.firstChild) big.append(make("span"), make("small"));
  const left = token.expires === null ? null : token.expires - now;
  const [headline, more] = tokenHeadline(token, left);
  setText(big.firstChild, headline);
  setText(big.lastChild, more);
  const timed = token.held && token.issued !== null && token.lifetime_seconds !== null;
  show(byId("token-life"), timed);
  if (timed) {
    const share = (moment) => `${Math.min(Math.max((moment - token.issued) / token.lifetime_seconds, 0), 1) * 100}%`;
    byId("token-life").firstChild.style.width = share(now);
    const due = byId("token-life").lastChild;
    show(due, token.next_refresh !== null);
    if (token.next_refresh !== null) due.style.left = share(token.next_refresh);
  }
  const next = token.in_flight ? "under way" : token.next_refresh === null ? "none by itself" : token.next_refresh <= now ? "now" : `in ${span(token.next_refresh - now)}`;
  facts(byId("token-facts"), [
    ["Age", token.issued === null ? "-" : span(now - token.issued)],
    ["Lifetime", token.lifetime_seconds === null ? "-" : span(token.lifetime_seconds)],
    ["Next refresh", next],
    ["Generation", String(token.generation)],
    ["Calls waiting", String(token.waiters)],
    ["Failures in a row", String(token.consecutive_failures)],
  ]);
}

function tokenHeadline(token, left) {
  if (!token.required && token.held) return ["Fixed", " by the settings; it is never refreshed"];
  if (!token.generation) return ["None yet", token.in_flight ? " the first one is being fetched" : ""];
  if (!token.held) return left !== null && left <= 0 ? ["Expired", ` ${span(-left)} ago`] : ["Refused", ` by the backend; ${token.in_flight ? "a new one is being fetched" : "no new one has come"}`];
  if (left === null) return ["Held", " nobody said when it expires"];
  return left > 0 ? [span(left), " left"] : ["Expired", ` ${span(-left)} ago`];
}

function renderLive(live) {
  const big = byId("live-count");
  if (!big.firstChild) big.append(make("span"), make("small"));
  setText(big.firstChild, live.exchanges ? count(live.exchanges, "call", "calls") : "No calls");
  setText(big.lastChild, live.streams ? `, ${live.streams} of them streaming` : "");
  const operations = Object.entries(live.operations).map(([name, number]) => `${number} ${name}`).join(", ");
  setText(byId("live-operations"), operations);
  meter("slots", live.slots.in_use, live.slots.limit, `${live.slots.in_use} of ${live.slots.limit || "no limit"} in use`);
  meter("queue", live.queue.waiting, live.queue.limit, `${live.queue.waiting} waiting, room for ${live.queue.limit}`);
  meter("buffered", live.buffered.bytes, live.buffered.limit, `${bytes(live.buffered.bytes)} of ${bytes(live.buffered.limit)}`);
  setText(byId("breaker-text"), BREAKERS[live.breaker]);
  byId("breaker-text").className = live.breaker === "open" ? "bad" : live.breaker === "half_open" ? "warning" : "";
  show(byId("oldest"), live.oldest.length > 0);
  show(byId("oldest-empty"), live.oldest.length === 0);
  keep(byId("oldest").tBodies[0], live.oldest, (running, index) => `${running.request_id} ${index}`,
    () => cells(make("tr"), ["", "", "#", "#"]),
    (row, running) => {
      const [call, waits, age, answered] = row.children;
      fill(call, running.model ?? running.operation, running.model === null ? "" : `${running.operation}${running.stream ? ", stream" : ""}`);
      row.title = running.request_id;
      fill(waits, running.waits_for);
      fill(age, duration(running.age_seconds), "", "nowrap");
      fill(answered, bytes(running.answered_bytes), "", "nowrap");
    });
}

function meter(name, value, limit, text) {
  setText(byId(`${name}-text`), text);
  const share = limit ? Math.min(value / limit, 1) : 0;
  const node = byId(`${name}-meter`);
  show(node, Boolean(limit));
  node.dataset.level = share >= 1 ? "bad" : share >= 0.8 ? "warning" : "good";
  node.firstChild.style.width = `${share * 100}%`;
}

function renderCalls(status) {
  const all = view.failuresOnly ? status.failures : status.exchanges;
  const calls = view.allCalls ? all : all.slice(0, FEW_CALLS);
  show(byId("more"), all.length > FEW_CALLS);
  setText(byId("more"), view.allCalls ? `Show the last ${FEW_CALLS} only` : `Show all ${all.length}`);
  byId("more").setAttribute("aria-expanded", String(view.allCalls));
  show(byId("calls"), calls.length > 0);
  show(byId("calls-empty"), calls.length === 0);
  setText(byId("calls-empty"), view.failuresOnly ? "No call has failed." : "No calls yet. How to make one stands below.");
  keep(byId("calls").tBodies[0], calls, (call) => call.number, () => {
    const row = cells(make("tr"), ["", "", "", "#took", "#first chunk", "#tokens", ""]);
    row.setAttribute("role", "row");
    row.lastChild.append(idButton("request"), idButton("trace"));
    return row;
  }, renderCall);
}

function renderCall(row, call) {
  const [time, what, outcome, took, first, tokens, ids] = row.children;
  fill(time, clock(call.ended), "", "nowrap");
  const place = `${call.method} ${call.path}`;
  fill(what, call.model ?? place, call.model === null ? call.operation : `${call.operation}${call.stream ? ", stream" : ""}`);
  what.title = place;
  const failed = !["completed", "client_disconnect"].includes(call.outcome);
  const told = [call.error_code, call.upstream_status !== null && call.upstream_status !== call.status ? `backend said ${call.upstream_status}` : null, call.retried ? `repeated: ${call.retried}` : null];
  fill(outcome, `${call.status} ${call.outcome.replaceAll("_", " ")}`, told.filter(Boolean).join(", "), failed ? "bad" : "");
  const waits = [call.token_wait_seconds ? `${duration(call.token_wait_seconds)} for the token` : null, call.queue_seconds ? `${duration(call.queue_seconds)} in the queue` : null];
  fill(took, duration(call.duration_seconds), waits.filter(Boolean).join(", "), "nowrap");
  fill(first, duration(call.first_chunk_seconds), "", "nowrap");
  const used = call.input_tokens === null && call.output_tokens === null ? "" : `${call.input_tokens ?? "-"} / ${call.output_tokens ?? "-"}`;
  fill(tokens, used, "", "nowrap");
  setId(ids.firstChild, "request", call.request_id);
  setId(ids.lastChild, "trace", call.trace_id);
}

// ---- using it

function snippets(base, model) {
  return {
    Python: `# pip install openai
from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="any")
stream = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello!"}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`,
    TypeScript: `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}", apiKey: "any" });
const stream = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Hello!" }],
  stream: true,
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
}
`,
    curl: `curl -N ${base}/chat/completions -H 'content-type: application/json' \\
  -d '{"model": "${model}", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'
`,
    "Any application": `export OPENAI_BASE_URL=${base} OPENAI_API_KEY=any
`,
  };
}

function renderSnippet(api) {
  view.model ??= api.model;
  const base = `${api.tls ? "https" : "http"}://${location.hostname}:${api.port}/v1`;
  const all = snippets(base, view.model ?? "your-model");
  setText(byId("snippet"), all[view.language]);
  setText(byId("use-hint"), `With kubectl port-forward, forward port ${api.port} as well.${api.tls ? " The client has to trust the certificate of TLS_CERT." : ""}`);
  keep(byId("languages"), Object.keys(all), (name) => name, (name) => {
    const tab = make("button", "", name);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "snippet-panel");
    tab.addEventListener("click", () => choose(name));
    return tab;
  }, (tab, name) => {
    tab.setAttribute("aria-selected", String(name === view.language));
    tab.tabIndex = name === view.language ? 0 : -1;
  });
}

function choose(language) {
  view.language = language;
  renderSnippet(view.status.api);
}

function turn(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const tabs = [...byId("languages").children];
  const next = tabs[(tabs.findIndex((tab) => tab.dataset.key === view.language) + step + tabs.length) % tabs.length];
  choose(next.dataset.key);
  next.focus();
}

// Settings are read at the start of the process: they are asked for once, and again from another one.
async function loadConfig() {
  if (view.status === null || view.configOf === view.status.started) return;
  const asked = view.status.started;
  view.configOf = asked;
  try {
    const answer = await fetch("/config", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const entries = Object.entries(await answer.json());
    show(byId("config-empty"), false);
    byId("settings").replaceChildren(...entries.flatMap(([name, value]) => {
      const unset = value === null || (typeof value === "object" && Object.keys(value).length === 0);
      return [make("dt", "", name), make("dd", unset ? "unset" : "", unset ? "not set" : shown(value))];
    }));
  } catch (error) {
    view.configOf = null;
    setText(byId("config-empty"), `It could not be loaded (${error.message}). Close and open this to try again.`);
  }
}

function shown(value) {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "object") return String(value);
  return Object.entries(value).map(([name, content]) => `${name}=${content}`).join(", ");
}

// ---- the page's own controls

function filter(failuresOnly) {
  view.failuresOnly = failuresOnly;
  byId("show-all").setAttribute("aria-pressed", String(!failuresOnly));
  byId("show-failures").setAttribute("aria-pressed", String(failuresOnly));
  if (view.status !== null) renderCalls(view.status);
}

byId("pause").addEventListener("click", () => pause(!view.paused));
byId("show-all").addEventListener("click", () => filter(false));
byId("show-failures").addEventListener("click", () => filter(true));
byId("more").addEventListener("click", () => {
  view.allCalls = !view.allCalls;
  if (view.status !== null) renderCalls(view.status);
});
byId("languages").addEventListener("keydown", turn);
byId("snippet-copy").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  if (!(await copy(byId("snippet").textContent))) return;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
byId("config").addEventListener("toggle", () => { if (byId("config").open) loadConfig(); });
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    timer = null;
  } else if (!view.paused) {
    poll();
  }
});
setInterval(tick, 1000);
poll();
