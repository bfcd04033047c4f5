// The samples: instruction, reference and candidates of a cell, or of two cells side by side.

const LIST_ROWS = 200;
const OUTCOMES = [
  ["all", "all"], ["first_only", "first right, second wrong"], ["second_only", "second right, first wrong"],
  ["neither", "neither right"], ["both", "both right"],
];
const OUTCOMES_ALONE = [["all", "all"], ["right", "right"], ["wrong", "wrong"], ["late", "right, but not at first"]];
const COMPARED = [["reference", "the reference"], ["other", "the other cell"], ["none", "nothing"]];

class Explorer {
  constructor(report) {
    this.report = report;
    this.files = new SampleFiles(report.explorer);
    this.rows = Object.keys(report.explorer).map(Number);
    this.chosen = [null, null];
    this.samples = [null, null];
    this.outcome = "all";
    this.search = "";
    this.against = "reference";
    this.sample = null;
    this.shown = LIST_ROWS;
    const root = byId("samples-body");
    if (this.rows.length === 0) {
      root.append(make("p", { class: "empty", text: "No cell with predictions was read." }));
      return;
    }
    this.list = make("div", { class: "sample-list", role: "listbox", "aria-label": "Samples" });
    this.view = make("div", { class: "sample-view", "aria-live": "polite" });
    this.controls = make("div", { class: "controls" });
    root.append(this.controls, make("div", { class: "explorer" }, this.list, this.view));
    this.drawControls();
    this.message("Choose a cell to read its samples.");
  }

  drawControls() {
    const cells = this.cellOptions();
    const partners = this.chosen[0] === null ? cells : cells.filter((option) => this.comparable(Number(option.value)));
    const [firstRow, secondRow] = this.chosen.map((row) => (row === null ? "" : String(row)));
    const first = choice("explorer-first", "Cell", [{ value: "", title: "choose …" }, ...cells], firstRow, (row) => this.choose(0, row));
    const second = choice("explorer-second", "beside", [{ value: "", title: "no other" }, ...partners], secondRow, (row) => this.choose(1, row));
    const two = this.samples[0] && this.samples[1];
    const options = (pairs) => pairs.map(([name, title]) => ({ value: name, title }));
    const outcome = choice("explorer-outcome", "Show", options(two ? OUTCOMES : OUTCOMES_ALONE), this.outcome,
      (name) => { this.outcome = name; this.restart(); });
    const bases = two ? COMPARED : COMPARED.filter(([name]) => name !== "other");
    const against = choice("explorer-against", "Differences from", options(bases), this.against,
      (name) => { this.against = name; this.drawSample(); });
    const search = make("input", {
      type: "search", value: this.search, placeholder: "in id, prompt, code", autocomplete: "off",
      input: afterTyping(() => { this.search = search.value; this.restart(); }),
    });
    this.controls.replaceChildren(first, second, outcome, against, make("label", { class: "field" }, make("span", { text: "Search" }), search));
  }

  /** The cells by their names; equal names get the id of their cell. */
  cellOptions() {
    const { rows } = this.report;
    const named = grouped(this.rows, (row) => rows.nameOf(row));
    return this.rows.map((row) => {
      const name = rows.nameOf(row);
      return { value: String(row), title: named.get(name).length > 1 ? `${name} · ${rows.get(row, "cell_id")}` : name };
    });
  }

  /** Whether the samples of a row are those of the first cell. */
  comparable(row) {
    return ["dataset", "data_fingerprint"].every((name) => this.report.rows.get(row, name) === this.report.rows.get(this.chosen[0], name));
  }

  /** Choose a cell for a side, 0 or 1; an empty string clears it. */
  async choose(place, value) {
    const row = value === "" ? null : Number(value);
    this.chosen[place] = row;
    this.samples[place] = null;
    if (place === 0 && this.chosen[1] !== null && (row === null || !this.comparable(this.chosen[1]))) {
      this.chosen[1] = null;
      this.samples[1] = null;
    }
    if (row !== null) {
      this.message("Reading …");
      try {
        const samples = await this.files.of(row);
        if (this.chosen[place] !== row) return;
        this.samples[place] = samples;
      } catch (error) {
        if (this.chosen[place] !== row) return;
        this.chosen[place] = null;
        this.drawControls();
        this.message(error.message);
        return;
      }
    }
    this.outcome = "all";
    if (this.against === "other" && !this.samples[1]) this.against = "reference";
    this.drawControls();
    if (this.samples[0]) this.restart();
    else this.message("Choose a cell to read its samples.");
  }

  message(text) {
    this.list.replaceChildren();
    this.view.replaceChildren(make("p", { class: "empty", text }));
  }

  restart() {
    this.shown = LIST_ROWS;
    const other = new Map((this.samples[1] ?? []).map((sample) => [sample.id, sample]));
    const words = this.search.toLowerCase();
    this.pairs = (this.samples[0] ?? [])
      .map((sample) => [sample, this.samples[1] ? other.get(sample.id) ?? null : null])
      .filter(([first, second]) => this.hasOutcome(first, second) && (words === "" || searched(first, second).includes(words)));
    if (!this.pairs.some(([first]) => first.id === this.sample)) this.sample = this.pairs[0]?.[0].id ?? null;
    this.drawList();
    this.drawSample();
  }

  /** Whether a sample, or a pair of two cells' samples, has the chosen outcome. */
  hasOutcome(first, second) {
    if (this.outcome === "all") return true;
    const right = rightAt(first, 0);
    if (!this.samples[1]) {
      const late = !right && first.candidates.some((_, rank) => rightAt(first, rank));
      return { right, late, wrong: !right && !late }[this.outcome];
    }
    if (second === null) return false;
    const also = rightAt(second, 0);
    return { first_only: right && !also, second_only: !right && also, neither: !right && !also, both: right && also }[this.outcome];
  }

  drawList() {
    const total = this.samples[0].length;
    const head = make("p", { class: "muted", id: "explorer-count", text: `${this.pairs.length.toLocaleString("en")} of ${total.toLocaleString("en")} samples` });
    const items = this.pairs.slice(0, this.shown).map(([first, second]) => make("button", {
      type: "button", class: "sample", role: "option", "aria-selected": String(first.id === this.sample),
      click: (event) => {
        this.sample = first.id;
        for (const item of this.list.querySelectorAll(".sample")) item.setAttribute("aria-selected", String(item === event.currentTarget));
        this.drawSample();
      },
    }, outcomeDots(first), this.samples[1] ? (second ? outcomeDots(second) : make("span", { class: "dot none", text: "·" })) : null,
    make("span", { class: "what" }, make("b", { text: first.id }), ` ${first.instruction.slice(0, 160)}`)));
    const left = this.pairs.length - this.shown;
    if (left > 0)
      items.push(make("button", { type: "button", text: `Show ${Math.min(left, LIST_ROWS)} more of ${left}`, click: () => { this.shown += LIST_ROWS; this.drawList(); } }));
    this.list.replaceChildren(head, ...items);
  }

  drawSample() {
    const pair = (this.pairs ?? []).find(([first]) => first.id === this.sample);
    if (!pair) {
      this.view.replaceChildren(make("p", { class: "empty", text: "No sample matches." }));
      return;
    }
    const [first, second] = pair;
    const asked = make("section", {}, make("h4", { text: "Instruction" }), make("pre", { class: "text", text: first.instruction }));
    if (first.prompt.trim() !== first.instruction.trim())
      asked.append(make("details", {}, make("summary", { text: "Whole prompt" }), make("pre", { class: "text", text: first.prompt })));
    const sides = [this.side(0, first, second), this.samples[1] ? this.side(1, second, first) : null];
    this.view.replaceChildren(make("h3", { text: first.id }), asked,
      make("section", {}, make("h4", { text: "Reference" }), make("pre", { class: "code", text: first.reference || "(none: scored by tests)" })),
      make("div", { class: this.samples[1] ? "sides two" : "sides" }, ...sides));
  }

  side(place, sample, other) {
    const title = make("h4", shortProperties(this.report.rows.nameOf(this.chosen[place]), OPTION_CHARACTERS));
    if (!sample) return make("section", { class: "side" }, title, make("p", { class: "empty", text: "This cell does not have this sample." }));
    const scores = Object.entries(sample.scores).filter(([, value]) => isNumber(value));
    const line = scores.length > 0
      ? make("p", { class: "muted small", text: scores.map(([name, value]) => `${shortened(name)} ${plainNumber(value)}`).join(" · ") }) : null;
    const cut = sample.cut > 0 ? make("p", { class: "warning", text: `${sample.cut.toLocaleString("en")} characters of very long texts are not shown.` }) : null;
    return make("section", { class: "side" }, title, line, cut,
      make("ol", { class: "candidates" }, ...sample.candidates.map((text, rank) => this.candidate(sample, other, text, rank))));
  }

  candidate(sample, other, text, rank) {
    const right = rightAt(sample, rank);
    const head = make("div", { class: "candidate-head" },
      make("span", { class: `mark ${right ? "right" : "wrong"}`, text: right ? "✓" : "✗", title: right ? "right" : "wrong" }),
      make("span", { class: "muted", text: `candidate ${rank + 1}` }));
    if (sample.matched[rank]) head.append(make("span", { class: "badge good", text: "equals the reference" }));
    const judged = Object.entries(sample.verdicts).filter(([, rows]) => rows[rank]?.length > 0);
    for (const [comparator, rows] of judged) head.append(verdictsOf(comparator, rows[rank], judged.length > 1));
    return make("li", { class: right ? "right" : "" }, head, this.code(sample, other, text, rank));
  }

  code(sample, other, text, rank) {
    if (text === "") return make("p", { class: "muted small", text: "(empty)" });
    const code = make("pre", { class: "code" });
    const base = this.against === "reference" ? sample.reference : this.against === "other" ? other?.candidates[rank] : null;
    if (!base || base === text) code.append(text);
    else
      for (const part of difference(base, text)) {
        // The other cell is beside this one and shows what is missing here.
        if (part.kind === "removed" && this.against === "other") continue;
        code.append(part.kind === "same" ? part.text : make(part.kind === "added" ? "ins" : "del", { text: part.text }));
      }
    return code;
  }
}

/** Whether a candidate is right: it passes all tests of the first comparator or, without tests, equals the reference. */
function rightAt(sample, rank) {
  const verdicts = Object.values(sample.verdicts)[0]?.[rank];
  if (verdicts && verdicts.length > 0) return verdicts.every((verdict) => verdict === "pass");
  return sample.matched[rank] === true;
}

function outcomeDots(sample) {
  const first = rightAt(sample, 0);
  const any = first || sample.candidates.some((_, rank) => rightAt(sample, rank));
  const [kind, sign, title] = first ? ["right", "✓", "the first candidate is right"]
    : any ? ["late", "•", "a later candidate is right"] : ["wrong", "✗", "no candidate is right"];
  return make("span", { class: `dot ${kind}`, text: sign, title });
}

function searched(first, second) {
  return [first.id, first.prompt, first.reference, ...first.candidates, ...(second?.candidates ?? [])].join("\n").toLowerCase();
}

function verdictsOf(comparator, verdicts, several) {
  const passed = verdicts.filter((verdict) => verdict === "pass").length;
  const part = make("details", { class: "verdicts" },
    make("summary", { text: `${passed} of ${verdicts.length} tests passed${several ? ` (${shortened(comparator)})` : ""}` }));
  const line = make("p", {});
  verdicts.forEach((verdict, place) => line.append(make("span", {
    class: `verdict-pill ${verdict === "pass" ? "good" : "bad"}`, ...shortProperties(`${place + 1} ${verdict}`),
  }), " "));
  part.append(line);
  return part;
}
