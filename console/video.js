// What was found in a video: the player, what is said and by whom, chapters, summary and pictures.

import { readLink } from "./api.js";
import { fill, h } from "./dom.js";
import { clock, number, span } from "./format.js";
import { Player } from "./player.js";
import { T } from "./texts.js";
import { button, facts, section } from "./ui.js";

const MOST_TILES = 24;

export async function show(place, page) {
  const { job, signal } = page;
  if (job.status !== "COMPLETED" || !job.links) {
    fill(place);
    return;
  }
  const player = playerOf(page);
  const aside = h("div", { class: "aside" });
  const below = h("div", { class: "stack" });
  fill(place, h("div", { class: player ? "watch" : "stack" }, h("div", { class: "stack" }, player?.element ?? h("p", { class: "card quiet" }, T.video.noVideo), below), aside));
  const jump = (second) => player?.play(second);
  fill(below, summaryOf(job), chaptersOf(job, jump), factsOf(job));
  const [transcript, captions, strip] = await Promise.all([
    file(page, "transcript.json", (answer) => answer.json()),
    file(page, "transcript.vtt", (answer) => answer.text()),
    file(page, "preview.vtt", (answer) => answer.text()),
  ]);
  if (signal.aborted) return;
  if (captions && player) player.caption(captions, transcript?.language);
  if (strip && player) player.element.append(stripOf(strip, job.links["strip.jpg"], jump) ?? "");
  const said = transcript && new Transcript(transcript, player, job.jobId);
  if (said) aside.append(said.element);
  const scenes = scenesOf(job);
  if (scenes) below.append(scenes);
}

/** A file of the result; null if it isn't there. Its link is signed anew if it has expired. */
async function file(page, name, read) {
  for (const job of [page.job, null]) {
    const link = (job ?? (await page.fresh().catch(() => null)))?.links?.[name];
    if (!link) return null;
    try {
      return await read(await readLink(link, page.signal));
    } catch (error) {
      if (error.code !== "LINK_EXPIRED") return null;
    }
  }
  return null;
}

function playerOf(page) {
  const link = ({ links, sources }) => links?.["preview.mp4"] ?? Object.values(sources ?? {})[0];
  if (!link(page.job)) return null;
  const source = (anew) => (anew ? page.fresh().then(link) : link(page.job));
  return new Player(source, { signal: page.signal, label: T.video.title, at: Number(page.at) || 0 });
}

function summaryOf(job) {
  return job.summary ? section(T.video.summary, h("p", { class: "prose" }, job.summary)) : null;
}

function chaptersOf(job, jump) {
  if (!job.chapters?.length) return null;
  return section(
    T.video.chapters,
    h("ol", { class: "chapters" }, job.chapters.map(({ start, title }) => h("li", {}, timeButton(start, jump), h("span", {}, title)))),
  );
}

function timeButton(second, jump) {
  return h("button", { type: "button", class: "stamp", "aria-label": T.video.jump(clock(second)), onclick: () => jump(second) }, clock(second));
}

function factsOf(job) {
  const { duration, resolution, scenes, language, speakers } = job.result ?? {};
  const names = T.video.facts;
  return facts([
    [names.duration, Number.isFinite(duration) && span(duration)],
    [names.resolution, resolution],
    [names.scenes, Number.isInteger(scenes) && number(scenes)],
    [names.language, language],
    [names.speakers, Number.isInteger(speakers) && number(speakers)],
  ]);
}

/** Pictures of the video in a row: each leads to its second. `text` is WebVTT whose cues name a part of one picture. */
function stripOf(text, picture, jump) {
  const tiles = [...text.matchAll(/(\S+) --> \S+.*\n\S*#xywh=(\d+),(\d+),(\d+),(\d+)/g)];
  if (!picture || !tiles.length) return null;
  const every = Math.ceil(tiles.length / MOST_TILES);
  const shown = tiles.filter((_, index) => index % every === 0);
  return h(
    "div",
    { class: "strip", role: "group", "aria-label": T.video.strip },
    shown.map(([, time, x, y, width, height]) => {
      const second = time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
      const tile = timeButton(second, jump);
      tile.className = "tile";
      const [w, t] = [Number(width), Number(height)];
      tile.style.setProperty("background-image", `url("${picture.replaceAll('"', "%22")}")`);
      tile.style.setProperty("background-position", `-${Number(x)}px -${Number(y)}px`);
      tile.style.setProperty("width", `${w}px`);
      tile.style.setProperty("height", `${t}px`);
      return tile;
    }),
  );
}

function scenesOf(job) {
  const pictures = Object.entries(job.links).filter(([name]) => /^scene-\d+\.jpg$/.test(name));
  if (!pictures.length) return null;
  return h(
    "details",
    { class: "card" },
    h("summary", {}, h("h2", {}, T.video.scenes, h("span", { class: "count" }, pictures.length))),
    h("div", { class: "gallery" }, pictures.map(([name, link]) => h("img", { src: link, alt: name, loading: "lazy" }))),
  );
}

/** What is said: follows the video, and leads to its second by a click. Speakers can be renamed, in this browser. */
class Transcript {
  constructor({ segments }, player, jobId) {
    this.player = player;
    this.store = `switchyard.speakers.${jobId}`;
    this.names = this.read();
    this.segments = (Array.isArray(segments) ? segments : []).filter((each) => typeof each?.text === "string");
    this.lines = this.segments.map((each) => this.line(each));
    this.list = h("ol", { class: "said", tabindex: "0", "aria-label": T.video.transcript }, this.lines.map(({ element }) => element));
    this.following = h("input", { type: "checkbox", checked: true, id: "follow" });
    this.element = section(
      T.video.transcript,
      h("label", { class: "check", for: "follow" }, this.following, T.video.follow),
      this.list,
      h("p", { class: "quiet" }, T.video.renameHint),
    );
    player?.video.addEventListener("timeupdate", () => this.follow(player.video.currentTime));
  }

  line({ start, text, speaker }) {
    const name = speaker && button(this.nameOf(speaker), () => this.rename(speaker), { class: "speaker", "data-speaker": speaker });
    const element = h("li", {}, timeButton(start, (second) => this.player?.play(second)), h("p", {}, name, h("span", {}, text)));
    return { element, start };
  }

  follow(second) {
    let at = -1;
    while (at + 1 < this.lines.length && this.lines[at + 1].start <= second + 0.05) at += 1;
    if (at === this.at) return;
    this.lines[this.at]?.element.removeAttribute("aria-current");
    this.at = at;
    const line = this.lines[at]?.element;
    if (!line) return;
    line.setAttribute("aria-current", "true");
    if (this.following.checked) {
      this.list.scrollTo({ top: line.offsetTop - this.list.clientHeight / 3, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    }
  }

  nameOf(speaker) {
    return Object.hasOwn(this.names, speaker) ? this.names[speaker] : T.video.speaker(speaker);
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.store)) ?? {};
    } catch {
      return {};
    }
  }

  rename(speaker) {
    const input = h("input", { id: "new-name", value: this.nameOf(speaker), maxlength: 60, required: true });
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "rename", onclose: () => dialog.remove() },
      h(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            dialog.close();
            this.names[speaker] = input.value.trim() || T.video.speaker(speaker);
            localStorage.setItem(this.store, JSON.stringify(this.names));
            for (const each of this.list.querySelectorAll(".speaker")) {
              if (each.dataset.speaker === speaker) fill(each, this.nameOf(speaker));
            }
          },
        },
        h("h2", { id: "rename" }, T.video.rename(this.nameOf(speaker))),
        h("label", { for: "new-name" }, T.video.newName),
        input,
        h("div", { class: "row end" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, T.close), h("button", { class: "button primary" }, T.video.save)),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }
}
