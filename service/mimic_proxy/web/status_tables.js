// Words for values, and nodes that change only where a value has: what is selected, focused or read aloud stays.
// Everything that a caller may have chosen becomes the text of a node, never markup.

const byId = (id) => document.getElementById(id);

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(node, visible) {
  node.hidden = !visible;
}

function make(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Makes the children of `parent` stand for `items`, in their order; a child stays as long as its key does.
function keep(parent, items, keyOf, create, update) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item, index) => {
    const key = String(keyOf(item, index));
    const child = present.get(key) || create(item);
    present.delete(key);
    child.dataset.key = key;
    update(child, item);
    return child;
  });
  present.forEach((child) => child.remove());
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] || null);
  });
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.0095) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  return span(seconds);
}

// Without fractions, for what ticks.
function span(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count], index) => index === 0 || count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

function bytes(count) {
  if (count < 1024) return `${count} B`;
  const power = Math.min(Math.floor(Math.log2(count) / 10), 4);
  const value = count / 1024 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function rate(perSecond) {
  return `${perSecond < 10 ? +perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en")}/s`;
}

// In the reader's own time zone: a pod knows only UTC.
function clock(moment, withSeconds = true) {
  const date = new Date(moment * 1000);
  const time = date.toLocaleTimeString("en-GB", withSeconds ? {} : { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

function say(text) {
  byId("said").textContent = text;
}

// Whether it worked: browsers let only pages of https and of this machine copy.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    say("The browser does not let this page copy.");
    return false;
  }
  say("Copied.");
  return true;
}

// A cell of one line, or of two: the second one says more in small letters.
function fill(cell, text, under, className) {
  if (!cell.firstChild) cell.append(make("span"), make("span", "under"));
  const [first, second] = cell.children;
  setText(first, text);
  first.className = className || "";
  setText(second, under || "");
  show(second, Boolean(under));
  cell.classList.toggle("blank", !text);
}

function cells(row, names) {
  for (const name of names) {
    const cell = make("td", name.startsWith("#") ? "number" : "");
    cell.setAttribute("role", "cell");
    const label = name.replace("#", "");
    if (label) cell.dataset.name = label;
    row.append(cell);
  }
  return row;
}

function idButton(kind) {
  const button = make("button", "id");
  button.type = "button";
  button.append(make("span", "kind", kind), make("span", "text"));
  button.addEventListener("click", async () => {
    if (!(await copy(button.dataset.id))) return;
    const label = button.firstChild;
    label.textContent = "copied";
    setTimeout(() => { label.textContent = kind; }, 1500);
  });
  return button;
}

function setId(button, kind, id) {
  show(button, Boolean(id));
  if (!id || button.dataset.id === id) return;
  button.dataset.id = id;
  button.title = `${id}: copy`;
  button.setAttribute("aria-label", `Copy ${kind} id ${id}`);
  setText(button.lastChild, id);
}
