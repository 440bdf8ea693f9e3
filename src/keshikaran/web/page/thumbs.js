// Small still pictures: drawn once, when they come into view; a browser decodes one at a time.

const SIDE = 288; // pixels: twice the size on the page, for fine screens

const wanted = new WeakMap();
let last = Promise.resolve();

const watcher = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    last = last.then(() => draw(target, wanted.get(target)));
  }
}, { rootMargin: "200px" });

/** Draw `file` on `canvas` once it can be seen. Calls `failed` if the browser cannot read it. */
export function drawWhenSeen(canvas, file, failed) {
  wanted.set(canvas, { file, failed });
  watcher.observe(canvas);
}

async function draw(canvas, { file, failed }) {
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
    canvas.width = Math.max(1, Math.round(scale * picture.width));
    canvas.height = Math.max(1, Math.round(scale * picture.height));
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
  } catch {
    failed();
  }
}
