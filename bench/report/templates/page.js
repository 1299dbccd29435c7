// Tables that sort and filter and say so in the address, decks that swap versions in place, a theme switch. Every page
// is complete without it; nothing is fetched.
"use strict";

const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* private window: the choice lasts for the page */ } },
};
const chosen = store.get("theme");
if (chosen) document.documentElement.dataset.theme = chosen;

// The state of the tables: NAME.KEY=VALUE in the query, which a link keeps.
const address = {
  read: () => new URLSearchParams(location.search),
  write(change) {
    const query = address.read();
    change(query);
    const text = query.toString();
    history.replaceState(null, "", (text ? "?" + text : location.pathname.split("/").pop()) + location.hash);
  },
  set(key, value) { address.write((query) => (value === "" || value === null ? query.delete(key) : query.set(key, value))); },
};

const number = (text) => {
  const found = /[-+−]?\d[\d,]*(?:\.\d+)?/.exec(text);
  return found ? parseFloat(found[0].replace(/,/g, "").replace("−", "-")) : NaN;
};

function sortable(table) {
  const name = table.dataset.table;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const first = [...body.rows];
  const keys = new Map();

  const values = (column) => {
    if (!keys.has(column)) keys.set(column, read(column));
    return keys.get(column);
  };
  const read = (column) => {
    const texts = first.map((row) => row.cells[column].textContent.trim());
    const numbers = texts.map(number);
    const known = texts.filter((text) => text && !/^(–|control|void|too loud|failed)$/.test(text));
    const numeric = known.length > 0 && known.every((text) => /^[-+−]?\s*[\d.]/.test(text));
    return numeric ? numbers : texts.map((text) => text.toLowerCase());
  };
  const apply = (column, down) => {
    heads.forEach((head, at) => head.removeAttribute("aria-sort"));
    if (column === null) { body.replaceChildren(...first); return; }
    const key = values(column);
    const missing = (value) => typeof value === "number" && Number.isNaN(value);
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const order = first.map((_, at) => at).sort((a, b) => {
      if (missing(key[a]) || missing(key[b])) return missing(key[a]) - missing(key[b]) || a - b;
      return (down ? -1 : 1) * compare(key[a], key[b]) || a - b;
    });
    body.replaceChildren(...order.map((at) => first[at]));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const numeric = typeof values(column)[0] === "number";
      const next = was === null ? numeric : was === "descending" ? (numeric ? false : null) : numeric ? null : true;
      apply(next === null ? null : column, next);
      address.set(`${name}.sort`, next === null ? "" : `${button.textContent}${next ? " down" : " up"}`);
    });
  });
  const asked = /^(.*) (up|down)$/.exec(address.read().get(`${name}.sort`) || "");
  if (asked) {
    const column = heads.findIndex((head) => head.textContent === asked[1]);
    if (column >= 0) apply(column, asked[2] === "down");
  }
}

function filtering(form) {
  const name = form.dataset.filters;
  const table = document.querySelector(`[data-table="${name}"]`);
  const rows = [...table.tBodies[0].rows];
  const fields = [...form.elements].filter((field) => field.name);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const apply = () => {
    let shown = 0;
    for (const row of rows) {
      const keep = fields.every((field) => {
        if (field.name === "find") return texts.get(row).includes(field.value.trim().toLowerCase());
        if (field.name === "controls") return field.checked || row.dataset.kind !== "control";
        if (field.name === "loud") return field.checked || row.dataset.kind !== "loud";
        if (field.name === "all") return true;
        return !field.value || row.getAttribute(`data-${field.name}`) === field.value;
      });
      row.hidden = !keep;
      shown += keep;
    }
    const all = form.elements.all;
    if (all) table.classList.toggle("everything", all.checked);
    form.querySelector("output").value = `${shown} of ${rows.length} rows`;
  };
  const plain = (field) => (field.type === "checkbox" ? field.defaultChecked === field.checked : field.value === "");
  const value = (field) => (field.type === "checkbox" ? (field.checked ? "1" : "0") : field.value);

  const query = address.read();
  for (const field of fields) {
    const asked = query.get(`${name}.${field.name}`);
    if (asked === null) continue;
    if (field.type === "checkbox") field.checked = asked === "1";
    else field.value = asked;
  }
  form.addEventListener("input", (event) => {
    apply();
    const field = event.target;
    address.set(`${name}.${field.name}`, plain(field) ? "" : value(field));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("[data-link]").addEventListener("click", (event) => copy(location.href, event.currentTarget));
  form.hidden = false;
  apply();
}

function deck(figure) {
  const audio = figure.querySelector("audio");
  const buttons = [...figure.querySelectorAll(".versions button")];
  const item = figure.querySelector("figcaption strong").textContent;
  let now = 0, before = Math.min(1, buttons.length - 1);

  const choose = (at) => {
    if (at === now || at < 0 || at >= buttons.length) return;
    const playing = !audio.paused && !audio.ended;
    // What a model made is another piece: it begins at its beginning.
    const position = "apart" in buttons[at].dataset ? 0 : audio.currentTime;
    [before, now] = [now, at];
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === now)));
    audio.src = buttons[now].dataset.src;
    audio.setAttribute("aria-label", `${item}: ${buttons[now].textContent.trim()}`);
    audio.addEventListener("loadedmetadata", () => { audio.currentTime = Math.min(position, audio.duration || 0); }, { once: true });
    if (playing || position > 0) audio.load();
    if (playing) audio.play().catch(() => { /* refused without a gesture: the controls are there */ });
  };
  buttons.forEach((button, at) => button.addEventListener("click", () => choose(at)));
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
  });
  figure.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[1-9]$/.test(event.key)) choose(Number(event.key) - 1);
    else if (event.key.toLowerCase() === "x") choose(before);
    else return;
    event.preventDefault();
  });
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    window.prompt("Copy this:", text);
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("form[data-filters]").forEach(filtering);
document.querySelectorAll("[data-deck]").forEach(deck);
document.querySelectorAll("[data-copy]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => copy(button.dataset.copy, button));
});
document.querySelectorAll("[data-theme-switch]").forEach((button) => {
  button.hidden = false;
  const dark = () => {
    const theme = document.documentElement.dataset.theme;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const say = () => button.setAttribute("aria-label", dark() ? "Switch to light" : "Switch to dark");
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    store.set("theme", theme);
    say();
  });
  say();
});
// What is folded is printed as well.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
