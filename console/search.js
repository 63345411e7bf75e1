// The search: moments in which something is said or shown, grouped by video, played at the second.

import { ApiError, getJob, search } from "./api.js";
import { fill, h } from "./dom.js";
import { clock, jobName } from "./format.js";
import { Player } from "./player.js";
import { T } from "./texts.js";
import { empty, failure, knownNames, loading } from "./ui.js";

const LIMIT = 20;

export async function show(main, { params, signal, title }) {
  const query = params.get("q") ?? "";
  const wantsAnswer = params.get("answer") === "1";
  const found = h("div", { class: "stack", id: "found", "aria-live": "polite" });
  fill(main, h("h1", {}, T.search.title), form(query, wantsAnswer), found);
  if (!query) {
    main.querySelector("#query").focus();
    fill(found, empty(T.search.start, T.search.startHint));
    return;
  }
  title(`${query} · ${T.search.title}`);
  fill(found, loading(4));
  const page = new Found(found, query, signal);
  try {
    await page.ask(wantsAnswer);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    fill(found, error.code === "NOT_CONFIGURED" ? empty(T.search.off, T.search.offHint) : failure(error, () => show(main, { params, signal, title })));
  }
}

function form(query, wantsAnswer) {
  const input = h("input", { id: "query", type: "search", name: "q", maxlength: 1000, required: true, value: query, placeholder: T.search.placeholder, autocomplete: "off" });
  const answer = h("input", { id: "answer", type: "checkbox", checked: wantsAnswer });
  const go = (event) => {
    event.preventDefault();
    const asked = new URLSearchParams({ q: input.value.trim(), ...(answer.checked ? { answer: "1" } : {}) });
    if (location.hash === `#/search?${asked}`) dispatchEvent(new Event("hashchange"));
    else location.hash = `#/search?${asked}`;
  };
  return h(
    "form",
    { class: "search", role: "search", onsubmit: go },
    h("label", { for: "query" }, T.search.label),
    h("div", { class: "row" }, input, h("button", { class: "button primary" }, T.search.go)),
    h("label", { class: "check", for: "answer" }, answer, T.search.answer),
  );
}

class Found {
  constructor(place, query, signal) {
    Object.assign(this, { place, query, signal });
    this.moments = [];
    this.videos = new Map();
  }

  async ask(wantsAnswer) {
    const asked = (answer) => search({ query: this.query, limit: LIMIT, answer }, { signal: this.signal });
    let body;
    let note = "";
    try {
      ({ body } = await asked(wantsAnswer));
    } catch (error) {
      if (error.code !== "NOT_CONFIGURED" || !wantsAnswer) throw error;
      note = T.search.cannotAnswer; // or it has no search at all, which this says
      ({ body } = await asked(false));
    }
    this.draw(body, note || (body.noAnswer && T.search.noAnswer[body.noAnswer]) || "");
  }

  draw({ hits, answer }, note) {
    if (!hits.length) {
      fill(this.place, note && h("p", { class: "card" }, note), empty(T.search.none, T.search.noneHint));
      return;
    }
    const groups = Map.groupBy(hits.map((hit, index) => ({ ...hit, number: index + 1 })), ({ jobId }) => jobId);
    const videos = [...groups].map(([jobId, found]) => new Video(jobId, found, this));
    fill(
      this.place,
      note && h("p", { class: "card" }, note),
      answer && this.answer(answer),
      h("p", { class: "quiet" }, T.search.found(hits.length, groups.size)),
      videos.map(({ element }) => element),
    );
  }

  answer({ sentences }) {
    const cite = (number) => h("button", { type: "button", class: "cite", "aria-label": T.search.cite(number), onclick: () => this.lead(number) }, number);
    return h(
      "section",
      { class: "card answer" },
      h("p", { class: "prose" }, sentences.map(({ text, hits }) => [h("span", {}, text, " "), hits.map(cite), " "])),
      h("p", { class: "quiet" }, T.search.answerBy),
    );
  }

  lead(number) {
    const moment = this.place.querySelector(`[data-number="${Number(number)}"]`);
    moment?.scrollIntoView({ block: "center" });
    moment?.querySelector("button")?.click();
  }

  /** One video plays at a time. */
  play(video, hit) {
    if (this.playing !== video) this.playing?.close();
    this.playing = video;
    video.play(hit);
  }
}

class Video {
  constructor(jobId, hits, page) {
    Object.assign(this, { jobId, page });
    this.name = h("a", { href: `#/jobs/${encodeURIComponent(jobId)}` }, knownNames()[jobId] ?? jobName({ jobId }));
    this.stage = h("div", { class: "stage", hidden: true });
    this.element = h("section", { class: "card" }, h("h2", {}, this.name), this.stage, h("ol", { class: "moments" }, hits.map((hit) => this.moment(hit))));
    getJob(jobId, { signal: page.signal, tries: 1 }).then(({ body }) => fill(this.name, jobName(body, knownNames())), () => {});
  }

  moment(hit) {
    const { at, text, marks, onScreen, speaker, links, number } = hit;
    const start = () => this.page.play(this, hit);
    return h(
      "li",
      { "data-number": number },
      h(
        "button",
        { type: "button", class: "frame-of", "aria-label": T.search.play(clock(at)), onclick: start, disabled: !links?.video },
        links?.frame ? h("img", { src: links.frame, alt: "", loading: "lazy" }) : h("span", { class: "no-frame" }),
        h("span", { class: "stamp" }, clock(at)),
      ),
      h(
        "div",
        {},
        speaker && h("p", { class: "quiet" }, T.video.speaker(speaker)),
        h("p", { class: "prose" }, marked(text, marks)),
        onScreen && h("p", { class: "quiet" }, `${T.search.onScreen}: ${onScreen}`),
      ),
    );
  }

  play({ at, links }) {
    const link = () => links.video.split("#")[0];
    if (!this.player) {
      const anew = async () => {
        const { body } = await getJob(this.jobId);
        return body.links?.["preview.mp4"] ?? Object.values(body.sources ?? {})[0] ?? link();
      };
      this.player = new Player((again) => (again ? anew() : link()), { signal: this.page.signal, label: T.video.title, at });
      fill(this.stage, this.player.element);
    }
    this.stage.hidden = false;
    this.player.play(at);
    this.stage.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.player?.close();
    this.player = null;
    fill(this.stage);
    this.stage.hidden = true;
  }
}

/** A text with its marked words. Marks count code points. */
function marked(text, marks = []) {
  const points = [...text];
  const parts = [];
  let from = 0;
  for (const [begin, end] of marks) {
    if (begin < from || end > points.length) continue;
    parts.push(points.slice(from, begin).join(""), h("mark", {}, points.slice(begin, end).join("")));
    from = end;
  }
  return [...parts, points.slice(from).join("")];
}
