// What was found in pictures: boxes drawn on them, above a confidence that can be chosen.

import { fill, h, svg } from "./dom.js";
import { fileName } from "./format.js";
import { T } from "./texts.js";
import { section } from "./ui.js";

const COLOURS = 6;

export async function show(place, { job }) {
  if (!job.detections?.length) {
    fill(place);
    return;
  }
  const labels = [...new Set(job.detections.flatMap((each) => (each.detections ?? []).map(({ label }) => String(label))))].sort();
  const pictures = job.detections.map((each) => new Picture(each, job.sources?.[each.imageUrl], labels));
  const shown = h("output", { for: "threshold" });
  const input = h("input", { id: "threshold", type: "range", min: 0, max: 100, step: 5, value: 0, "aria-describedby": "counts" });
  const counts = h("p", { id: "counts", class: "quiet", role: "status" });
  const redraw = () => {
    const least = Number(input.value) / 100;
    fill(shown, `${input.value} %`);
    const found = pictures.flatMap((each) => each.draw(least));
    const sums = labels.map((label) => [label, found.filter((each) => each === label).length]).filter(([, count]) => count);
    fill(counts, found.length ? `${T.pictures.found(found.length)}: ${sums.map(([label, count]) => `${count} ${label}`).join(", ")}` : T.pictures.none);
  };
  input.addEventListener("input", redraw);
  redraw();
  fill(
    place,
    section(
      T.pictures.title,
      h("div", { class: "row threshold" }, h("label", { for: "threshold" }, T.pictures.threshold), input, shown),
      counts,
      h("div", { class: "pictures" }, pictures.map(({ element }) => element)),
    ),
  );
}

class Picture {
  constructor({ imageUrl, detections, error }, link, labels) {
    this.name = fileName(imageUrl);
    this.labels = labels;
    this.found = (Array.isArray(detections) ? detections : []).filter(({ bbox }) => Array.isArray(bbox) && bbox.length === 4 && bbox.every(Number.isFinite));
    this.boxes = svg("svg", { class: "boxes", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.image = h("img", { src: link, alt: this.name, loading: "lazy", onload: () => this.fit() });
    this.list = h("ul", { class: "found" });
    const picture = link ? h("div", { class: "framed" }, this.image, this.boxes) : h("p", { class: "quiet" }, T.pictures.noPicture);
    this.element = h(
      "figure",
      {},
      picture,
      h("figcaption", {}, h("strong", {}, this.name), error && h("p", { class: "bad" }, `${error.message} (${error.code})`), this.list),
    );
  }

  /** Boxes are in pixels of the upright picture. */
  fit() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    this.boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  /** Draws what is at least that certain; the labels drawn. */
  draw(least) {
    const drawn = this.found.filter(({ confidence }) => confidence >= least);
    fill(
      this.boxes,
      drawn.map(({ label, bbox: [left, top, right, bottom] }) =>
        svg("rect", { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top), "data-colour": this.labels.indexOf(String(label)) % COLOURS }),
      ),
    );
    fill(
      this.list,
      drawn.map(({ label, confidence }) => h("li", { "data-colour": this.labels.indexOf(String(label)) % COLOURS }, `${label} ${Math.round(confidence * 100)} %`)),
    );
    this.image.alt = T.pictures.alt(this.name, drawn.map(({ label }) => label).join(", "));
    return drawn.map(({ label }) => String(label));
  }
}
