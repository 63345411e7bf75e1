// One job: what it waits for, how far it is, what went wrong, and what came out.

import { cancelJob, getJob, getLogs, poll, rerunJob } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { between, fileName, jobName, span, when } from "./format.js";
import { T } from "./texts.js";
import { ENDED, button, confirmed, copyButton, facts, failure, kindOf, knownNames, loading, moment, say, section, statusOf, tellOutage } from "./ui.js";

const LIVE = 2000;
const CALM = 60_000; // links are signed anew by then
const LOG = 5000;
const RESULTS = {
  "video-analysis": () => import("./video.js"),
  "image-processing": () => import("./pictures.js"),
  "stream-recording": () => import("./results.js"),
  torrent: () => import("./results.js"),
  "torrent-seeding": () => import("./results.js"),
  steam_import: () => import("./results.js"),
};

export async function show(main, { id, params, signal, title }) {
  const page = new Page(main, id, { signal, title, at: params.get("at") });
  fill(main, back(), loading(5));
  poll(() => page.refresh(), { pace: () => page.pace, signal, failed: (error) => page.failed(error) });
}

function back() {
  return h("a", { class: "back", href: "#/jobs" }, icon("back"), T.job.jobs);
}

class Page {
  constructor(main, id, { signal, title, at }) {
    Object.assign(this, { main, id, signal, title, at });
    this.head = h("div", { class: "stack" });
    this.results = h("div", { class: "stack" });
    this.tail = h("div", { class: "stack" });
    this.log = new Log(id, signal);
  }

  get pace() {
    return this.job && ENDED.has(this.job.status) ? CALM : LIVE;
  }

  async refresh() {
    try {
      const { status, body, tag } = await getJob(this.id, { tag: this.tag, signal: this.signal, tries: 1 });
      if (status === 304) return;
      this.tag = tag;
      this.job = body;
    } catch (error) {
      // A video's job appears a moment after its upload: this browser knows that it will.
      if (error.status !== 404 || this.job || !knownNames()[this.id]) throw error;
      fill(this.main, back(), h("h1", {}, knownNames()[this.id]), h("p", {}, T.job.arriving), loading(2));
      return;
    }
    await this.draw();
  }

  /** The job with links that are signed now. */
  async fresh() {
    const { body } = await getJob(this.id, { signal: this.signal });
    this.job = body;
    return body;
  }

  failed(error) {
    if (!error || error.isOutage || error.status === 429) tellOutage(error);
    else if (error.status === 404) fill(this.main, back(), h("h1", {}, T.job.notFound), h("p", {}, T.job.notFoundHint));
    else if (!error.isSignedOut) fill(this.main, back(), h("h1", {}, this.id), failure(error, () => dispatchEvent(new Event("hashchange"))));
  }

  async draw() {
    const { job } = this;
    const name = jobName(job, knownNames());
    this.title(name);
    if (!this.head.isConnected) fill(this.main, back(), this.head, this.results, this.tail);
    fill(this.head, this.heading(name), failureOf(job), waitOf(job), progressOf(job));
    await this.drawResults();
    const open = this.tail.querySelector("details.data")?.open;
    fill(this.tail, filesOf(job), timelineOf(job), this.log.element, detailsOf(job, open));
    this.log.follow(!ENDED.has(job.status));
  }

  heading(name) {
    const { job } = this;
    const ended = ENDED.has(job.status);
    return h(
      "div",
      { class: "heading" },
      h("span", { class: "kind big" }, icon(job.kind)),
      h("div", {}, h("h1", {}, name), h("p", { class: "quiet" }, kindOf(job.kind), " ", statusOf(job.status))),
      h(
        "div",
        { class: "row actions" },
        !ended && !job.cancelRequested && button(T.job.cancel, () => this.cancel(), { class: "button danger" }),
        job.cancelRequested && h("span", { class: "quiet" }, T.job.cancelling),
        ended && button(T.job.rerun, () => this.rerun(), { class: "button" }),
        copyButton(T.job.copyId, job.jobId),
      ),
    );
  }

  async cancel() {
    if (!(await confirmed(T.job.confirmCancel, T.job.cancel))) return;
    const { status } = await cancelJob(this.id);
    say(status === 200 ? T.job.cancelled : T.job.stopping);
    await this.refresh();
  }

  async rerun() {
    const { body } = await rerunJob(this.id);
    const name = knownNames()[this.id];
    location.hash = `#/jobs/${encodeURIComponent(body.jobId)}`;
    say(name ? `${name}: ${T.job.rerunOf}` : T.job.rerunOf);
  }

  /** The results are built once and kept while only their links change: what plays goes on playing. */
  async drawResults() {
    const { job } = this;
    const state = JSON.stringify([job.status, job.result, job.detections, job.summary, Object.keys(job.links ?? {})]);
    if (state === this.shown || !Object.hasOwn(RESULTS, job.kind)) return;
    this.shown = state;
    const found = await RESULTS[job.kind]();
    if (!this.signal.aborted) await found.show(this.results, this);
  }
}

// ---- what happens to it ----

function failureOf(job) {
  if (!job.error) return null;
  const advice = Object.hasOwn(T.job.whatToDo, job.error.code) ? T.job.whatToDo[job.error.code] : T.job.whatElse;
  return h(
    "section",
    { class: "card failed" },
    h("h2", {}, T.job.failed),
    h("p", {}, job.error.message),
    h("p", {}, h("strong", {}, advice)),
    h("p", { class: "quiet" }, h("code", {}, job.error.code)),
  );
}

function waitOf(job) {
  if (job.status !== "WAITING" && job.status !== "PENDING") return null;
  const told = [
    Number.isInteger(job.ahead) && T.job.ahead(job.ahead),
    job.blockedReason,
    job.startAfter && T.job.starts(when(job.startAfter)),
  ].filter(Boolean);
  return told.length ? section(T.job.waiting, told.map((text) => h("p", {}, text))) : null;
}

function progressOf(job) {
  if (ENDED.has(job.status) || !job.progress) return null;
  const { percent, message, bytes, seconds } = job.progress;
  const known = Number.isFinite(percent);
  return section(
    T.job.progress,
    h("progress", { max: 100, value: known ? percent : undefined, "aria-label": T.job.progress }),
    h("p", {}, known && `${percent} %`, known && message && " · ", message),
    facts([[T.recording.length, seconds && span(seconds)], [T.recording.bytes, bytes && String(bytes)]]),
  );
}

function timelineOf(job) {
  const steps = [[T.job.steps.created, job.createdAt, ""]];
  for (const each of job.pastAttempts ?? []) steps.push([T.job.steps.failed, each.endedAt, `${each.message} (${each.code})`, "bad"]);
  if (job.startedAt) steps.push([T.job.steps.started, job.startedAt, T.job.waited(span(between(job.createdAt, job.startedAt)))]);
  if (job.endedAt) {
    const ran = job.startedAt ? T.job.ran(span(between(job.startedAt, job.endedAt))) : "";
    steps.push([T.status[job.status] ?? T.job.steps.ended, job.endedAt, ran, job.status === "FAILED" ? "bad" : ""]);
  }
  steps.sort(([, one], [, other]) => Date.parse(one) - Date.parse(other));
  const stages = Object.entries(job.result?.stages ?? {});
  return section(
    T.job.timeline,
    h(
      "ol",
      { class: "timeline" },
      steps.map(([name, at, more, look]) =>
        h("li", { class: look }, h("strong", {}, name), moment(at, when(at), at), more && h("span", { class: "quiet" }, more)),
      ),
    ),
    stages.length > 0 && h("h3", {}, T.job.stages),
    stages.length > 0 &&
      h("ul", { class: "stages" }, stages.map(([name, state]) => h("li", { "data-state": state }, `${name}: ${T.job.stageStates[state] ?? state}`))),
  );
}

function filesOf(job) {
  const links = Object.entries(job.links ?? {});
  const sources = Object.entries(job.sources ?? {}).map(([url, link]) => [fileName(url), link]);
  const files = [...links, ...sources];
  if (!files.length) return null;
  return h(
    "details",
    { class: "card" },
    h("summary", {}, h("h2", {}, T.job.files, h("span", { class: "count" }, files.length))),
    h("ul", { class: "files" }, files.map(([name, link]) => h("li", {}, h("a", { href: link, target: "_blank", rel: "noopener", download: name }, icon("download"), name)))),
  );
}

function detailsOf(job, open) {
  const data = { [T.job.metadata]: job.metadata, [T.job.result]: job.result };
  return h(
    "details",
    { class: "card data", open },
    h("summary", {}, h("h2", {}, T.job.details)),
    facts([
      [T.job.id, h("code", {}, job.jobId)],
      [T.job.priority, job.priority],
      [T.job.user, job.userId],
      [T.job.submittedBy, job.submittedBy],
      [T.job.cancelledBy, job.cancelledBy],
      [T.job.of, job.rerunOf && h("a", { href: `#/jobs/${encodeURIComponent(job.rerunOf)}` }, job.rerunOf)],
    ]),
    Object.entries(data).map(
      ([name, value]) => value && [h("h3", {}, name), h("pre", { tabindex: "0", role: "region", "aria-label": name }, JSON.stringify(value, null, 2))],
    ),
  );
}

/** What the job's runs have written. Read when it is opened, and followed while the job runs. */
class Log {
  constructor(id, signal) {
    Object.assign(this, { id, signal, running: false, cursor: undefined });
    this.lines = h("pre", { class: "log", tabindex: "0", role: "region", "aria-label": T.job.log });
    this.note = h("p", { class: "quiet" }, T.loading);
    this.element = h("details", { class: "card", ontoggle: () => this.read() }, h("summary", {}, h("h2", {}, T.job.log)), this.note, this.lines);
    this.lines.hidden = true;
  }

  follow(running) {
    this.running = running;
  }

  async read() {
    if (!this.element.open || this.reading || this.signal.aborted) return;
    this.reading = true;
    try {
      let more = true;
      while (more) {
        const { body } = await getLogs(this.id, this.cursor, { signal: this.signal });
        this.add(body.lines);
        // A page without lines is the end, for now.
        more = Boolean(body.cursor) && body.cursor !== this.cursor && body.lines.length > 0;
        this.cursor = body.cursor ?? this.cursor;
      }
      fill(this.note, this.lines.hidden && T.job.logEmpty);
      if (this.running) this.timer = setTimeout(() => this.read(), LOG);
    } catch (error) {
      if (!this.signal.aborted) fill(this.note, error.isNoRoute ? T.job.logNone : error.message);
    } finally {
      this.reading = false;
    }
  }

  add(lines) {
    if (!lines.length) return;
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
    this.lines.append(...lines.map(({ time, message }) => h("span", { class: "line" }, h("time", { datetime: time }, when(time)), " ", message, "\n")));
    this.lines.hidden = false;
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }
}
