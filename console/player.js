// A video with captions, whose signed link may expire while it plays.

import { readLink } from "./api.js";
import { h } from "./dom.js";
import { T } from "./texts.js";
import { say } from "./ui.js";

const MOST_RENEWALS = 3;

/**
 * A player. `source()` returns the link, and `source(true)` a promise of one that is signed anew.
 *
 * When a link has expired, the player goes on at the same second with a new one.
 */
export class Player {
  constructor(source, { signal, label, at = 0 }) {
    this.source = source;
    this.renewals = 0;
    this.note = h("p", { class: "quiet", hidden: true }, T.video.cantPlay);
    this.video = h("video", { controls: true, playsinline: true, preload: "metadata", src: source(), "aria-label": label });
    this.video.addEventListener("error", () => this.renew());
    this.video.addEventListener("playing", () => (this.renewals = 0));
    this.element = h("div", { class: "player" }, this.video, this.note);
    this.track = null;
    signal.addEventListener("abort", () => this.close(), { once: true });
    if (at) this.video.addEventListener("loadedmetadata", () => (this.video.currentTime = at), { once: true });
  }

  async renew() {
    const { currentTime, paused } = this.video;
    this.renewals += 1;
    if (this.renewals > MOST_RENEWALS || this.closed) {
      this.note.hidden = false;
      return;
    }
    try {
      // Only an expired link is worth another: a browser that can't play the file can't play it by another link.
      await readLink(this.video.src, AbortSignal.timeout(10_000)).then((answer) => answer.body?.cancel());
      this.note.hidden = false;
      return;
    } catch (error) {
      if (error.code !== "LINK_EXPIRED") {
        this.note.hidden = false;
        return;
      }
    }
    this.video.src = await this.source(true);
    this.video.addEventListener("loadedmetadata", () => {
      this.video.currentTime = currentTime;
      if (!paused) this.video.play().catch(() => {});
    }, { once: true });
    say(T.video.refreshed);
  }

  play(second) {
    this.video.currentTime = second;
    this.video.play().catch(() => {}); // the browser may want a click of its own first
  }

  /** Shows WebVTT text as captions. */
  caption(text, language) {
    this.address = URL.createObjectURL(new Blob([text], { type: "text/vtt" }));
    const known = /^[a-z]{2,3}$/.test(language ?? "") ? language : "und";
    this.video.append(h("track", { kind: "captions", label: T.video.captions, srclang: known, src: this.address, default: true }));
  }

  close() {
    this.closed = true;
    this.video.pause();
    if (this.address) URL.revokeObjectURL(this.address);
  }
}
