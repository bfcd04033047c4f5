// Elements made of data. Texts become text nodes only: this page never parses a string as markup.

/** Make an element. `properties`: class, text, title, and attributes by name; functions become listeners ("click"). */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "value" || name === "checked" || name === "disabled" || name === "open") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return add(element, ...children);
}

/** Append the children that are not null, undefined or false. */
function add(element, ...children) {
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const byId = (id) => document.getElementById(id);

const SHORT_CHARACTERS = 48;
const OPTION_CHARACTERS = 110;
const LAST_CHARACTERS = 12;

/** Cut a name to `most` characters: its beginning and its end, which often identifies it. */
function shortened(text, most = SHORT_CHARACTERS) {
  const letters = [...String(text)];
  if (letters.length <= most) return String(text);
  return `${letters.slice(0, most - LAST_CHARACTERS - 1).join("")}…${letters.slice(-LAST_CHARACTERS).join("")}`;
}

/** Properties of an element that shows a name; the title has the whole name if it is cut. */
function shortProperties(text, most = SHORT_CHARACTERS) {
  const short = shortened(text, most);
  return short === String(text) ? { text: short } : { text: short, title: String(text) };
}

/** A select element with options [{value, title}]; `changed` is called with the value. */
function choice(id, label, options, value, changed) {
  const select = make("select", { id, change: () => changed(select.value) });
  for (const option of options) select.append(make("option", { value: option.value, ...shortProperties(option.title, OPTION_CHARACTERS) }));
  select.value = value;
  return make("label", { class: "field" }, make("span", { text: label }), select);
}

/** Delay `work` until calls have stopped for a moment. */
function afterTyping(work, milliseconds = 120) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

/** A table with a caption for screen readers only. `head` and the rows of `body` hold cells or their texts. */
function tableOf(caption, head, body) {
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) =>
    cell instanceof HTMLTableCellElement ? cell : make(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {},
      make("caption", { class: "unseen", text: caption }),
      make("thead", {}, row(head, "th")),
      make("tbody", {}, ...body.map((cells) => row(cells, "td")))));
}

function statusBadge(status) {
  return make("span", { class: `badge status-${STATUSES.includes(status) ? status : "other"}`, text: status ?? "unknown" });
}
