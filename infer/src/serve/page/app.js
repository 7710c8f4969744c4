// The page: a picture or the camera, a style, and the photo beside its painting.

import { Camera } from "/camera.js";

/** Longer side of the preview that is shown before the full size is ready, pixels. */
const PREVIEW = 1024;
/** Formats that browsers can show. For all others, the server makes a PNG first. */
const SHOWN = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];

const $ = (id) => document.getElementById(id);
const body = document.body;
const query = new URLSearchParams(location.search);
const chosen = { style: "", strength: 1, keep_colors: false };
const picture = { blob: null, name: "", width: 0, height: 0, urls: {} };
let limits = { body_bytes: Infinity, pixels: Infinity, frame_pixels: 1920 * 1088 };
let painting = null;

/* Messages */

function say(text) {
  $("status").textContent = text;
}

function complain({ title, detail, hint }) {
  $("alert-title").textContent = sentence(title);
  $("alert-detail").textContent = sentence(detail);
  $("alert-hint").textContent = sentence(hint);
  $("alert").hidden = false;
}

/** The API's messages have no capital letter and no full stop; the page shows sentences. */
function sentence(text) {
  if (!text) return "";
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function forgive() {
  $("alert").hidden = true;
}

function busy(text) {
  $("busy").hidden = !text;
  if (text) $("busy-text").textContent = text;
}

/* The API */

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: "the request failed", detail: `the server responded with status ${response.status}`, hint: "" };
  }
}

/** Paints `blob`; tries again while the server is busy. */
async function stylize(blob, options, signal) {
  const given = Object.entries(options).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const url = `/v1/stylize?${new URLSearchParams(given)}`;
  for (;;) {
    const response = await fetch(url, { method: "POST", body: blob, signal });
    if (response.ok) return response;
    const retry = Number(response.headers.get("retry-after"));
    if (response.status !== 503 || !retry) throw await problemOf(response);
    busy("Waiting for the server");
    await new Promise((resolve) => setTimeout(resolve, 1000 * retry));
    signal?.throwIfAborted();
  }
}

/* Pictures */

/** Shows a picture file in one of the page's images, and releases the previous file. */
async function show(image, key, blob) {
  const url = await decodable(blob);
  URL.revokeObjectURL(picture.urls[key]);
  picture.urls[key] = url;
  image.src = url;
  await image.decode();
}

/** An address of a picture file that the browser can show; throws if it cannot. */
async function decodable(blob) {
  const url = URL.createObjectURL(blob);
  try {
    await Object.assign(new Image(), { src: url }).decode();
    return url;
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
}

/** Opens a picture. The previous one stays until this one can be read. */
async function load(blob, name) {
  forgive();
  if (blob.size > limits.body_bytes) {
    const [size, most] = [blob.size, limits.body_bytes].map((bytes) => (bytes / 1e6).toFixed(1));
    return complain({ title: "The picture is too large.", detail: `It has ${size} MB, and the server accepts at most ${most} MB.`, hint: "" });
  }
  painting?.abort();
  const abort = (painting = new AbortController());
  try {
    busy("Reading");
    await show($("before"), "before", await viewable(blob, abort.signal));
    if (abort.signal.aborted) return;
    const { naturalWidth: width, naturalHeight: height } = $("before");
    Object.assign(picture, { blob, name, width, height });
    setAspect(width, height);
    $("after").removeAttribute("src");
    $("download").disabled = false;
    say("");
    await paint();
  } catch (error) {
    if (abort.signal.aborted) return;
    busy("");
    complain(readable(error));
  }
}

/** The picture, or a PNG from the server if browsers cannot show its format. */
async function viewable(blob, signal) {
  if (SHOWN.includes(blob.type)) {
    try {
      URL.revokeObjectURL(await decodable(blob));
      return blob;
    } catch {
      // The format differs from what the name says, or the file is damaged. The server's message says which.
    }
  }
  const response = await stylize(blob, { strength: 0, format: "png", max_size: 2 * PREVIEW }, signal);
  return response.blob();
}

function readable(error) {
  if (error?.title) return error;
  return { title: "The server cannot be reached.", detail: "It may have been stopped.", hint: "Start it again, then try again." };
}

/** Paints the picture in the chosen style: first a preview, then in full size. The page itself applies the strength. */
async function paint() {
  if (!picture.blob) return;
  painting?.abort();
  const abort = (painting = new AbortController());
  const { signal } = abort;
  const started = performance.now();
  const { style, keep_colors } = chosen;
  const side = Math.max(picture.width, picture.height);
  const wanted = Math.min(Number($("size").value) || side, side);
  const steps = wanted > PREVIEW * 1.3 ? [PREVIEW, wanted] : [wanted];
  body.dataset.painted = "";
  try {
    for (const size of steps) {
      busy(size === PREVIEW && steps.length > 1 ? "Painting a preview" : "Painting");
      const options = { style, keep_colors, max_size: size < side ? size : "", format: "jpg", quality: 95 };
      const response = await stylize(picture.blob, options, signal);
      await show($("after"), "after", await response.blob());
      signal.throwIfAborted();
    }
    forgive();
    busy("");
    const [width, height] = [$("after").naturalWidth, $("after").naturalHeight];
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    say(`${picture.name}: ${width} × ${height} pixels, painted in ${seconds} s`);
    body.dataset.painted = style;
  } catch (error) {
    if (signal.aborted) return;
    busy("");
    complain(readable(error));
  }
}

async function download() {
  const format = $("format").value;
  const options = { ...chosen, max_size: $("size").value, format };
  const button = $("download");
  button.disabled = true;
  forgive();
  busy("Painting for the download");
  try {
    const response = await stylize(picture.blob, options);
    const blob = await response.blob();
    const ending = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/tiff": "tiff", "image/bmp": "bmp", "image/gif": "gif" }[blob.type] ?? "jpg";
    save(blob, `${picture.name.replace(/\.[^.]*$/, "")}-${chosen.style}.${ending}`);
  } catch (error) {
    complain(readable(error));
  }
  busy("");
  button.disabled = false;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  say(`Saved ${name}`);
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/* The camera */

const camera = new Camera($("video"), $("live"), ({ stats, problem, ended }) => {
  if (problem) complain(problem);
  if (ended) cameraEnded(ended);
  if (!stats) return;
  $("meter-rate").textContent = stats.rate.toFixed(1);
  $("meter-latency").textContent = `${stats.latency.toFixed(0)} ms`;
  $("meter-size").textContent = `${stats.width}×${stats.height}`;
  $("meter-dropped").textContent = String(stats.skipped);
  Object.assign(body.dataset, { frames: stats.painted, inFlight: stats.mostInFlight });
  window.impasto = stats;
});

function cameraSettings() {
  const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return {
    ...chosen,
    rate: Number($("rate").value),
    width: Number($("width").value),
    // On the same machine, sending raw pixels is faster than compressing them; over a network it is slower.
    raw: query.has("up") ? query.get("up") === "raw" : loopback,
  };
}

async function startCamera() {
  forgive();
  $("camera-start").disabled = true;
  try {
    await camera.start(cameraSettings());
    $("welcome").hidden = true;
    $("camera-stop").disabled = $("snapshot").disabled = false;
    say("Painting the camera");
  } catch (error) {
    camera.stop();
    const names = { NotAllowedError: "the browser was not allowed to use it", NotFoundError: "there is no camera", NotReadableError: "another program is using it" };
    complain(error?.title ? error : { title: "The camera cannot be used.", detail: names[error?.name] ?? String(error?.message ?? error), hint: "" });
  }
  $("camera-start").disabled = false;
}

function cameraEnded(reason) {
  $("welcome").hidden = false;
  $("camera-stop").disabled = $("snapshot").disabled = true;
  say("");
  if (reason) complain({ title: "The camera has stopped.", detail: reason, hint: "" });
}

function stopCamera() {
  camera.stop();
  cameraEnded("");
}

/* Controls */

function setMode(mode) {
  body.dataset.mode = mode;
  if (mode === "picture" && picture.width) setAspect(picture.width, picture.height);
  else setAspect($("video").videoWidth, $("video").videoHeight);
  $("mode-picture").setAttribute("aria-pressed", String(mode === "picture"));
  $("mode-camera").setAttribute("aria-pressed", String(mode === "camera"));
  say("");
  forgive();
  busy("");
  if (mode === "picture") {
    stopCamera();
    setStrength();
    if (body.dataset.painted !== chosen.style) paint();
  } else {
    painting?.abort();
  }
}

function setSplit() {
  const value = Number($("split").value);
  $("compare").style.setProperty("--split", `${value}%`);
  $("split").setAttribute("aria-valuetext", `${value} % photo, ${100 - value} % painting`);
}

/** Gives the stage the picture's aspect ratio, within limits. */
function setAspect(width, height) {
  const aspect = Math.min(3, Math.max(0.5, width / height)) || 1.5;
  $("compare").style.setProperty("--aspect", aspect.toFixed(4));
}

function setStrength() {
  chosen.strength = Number($("strength").value);
  $("strength-value").textContent = `${Math.round(100 * chosen.strength)} %`;
  // The server blends pixels in the same way, so no request is needed.
  $("after").style.opacity = String(chosen.strength);
  camera.change({ strength: chosen.strength });
}

function setColors() {
  chosen.keep_colors = $("keep-colors").checked;
  camera.change({ keep_colors: chosen.keep_colors });
  if (body.dataset.mode === "picture") paint();
}

function setStyle(style) {
  chosen.style = style.name;
  $("style-source").textContent = [style.source, style.licence].filter(Boolean).join(" · ");
  camera.change({ style: chosen.style });
  if (body.dataset.mode === "picture") paint();
}

function styleChoice(style, checked) {
  const label = document.createElement("label");
  label.className = "style";
  const input = Object.assign(document.createElement("input"), { type: "radio", name: "style", value: style.name, checked });
  input.addEventListener("change", () => setStyle(style));
  const image = Object.assign(document.createElement("img"), { src: style.thumbnail, alt: "", loading: "lazy" });
  const name = Object.assign(document.createElement("span"), { textContent: style.name.replaceAll("_", " ") });
  label.append(input, image, name);
  return label;
}

async function loadStyles() {
  const response = await fetch("/v1/styles");
  if (!response.ok) throw await problemOf(response);
  const answer = await response.json();
  limits = answer.limits;
  const first = answer.styles.find(({ name }) => name === (query.get("style") ?? answer.default)) ?? answer.styles[0];
  $("styles").replaceChildren(...answer.styles.map((style) => styleChoice(style, style === first)));
  setStyle(first);
}

async function loadSample() {
  const response = await fetch("/sample.jpg");
  await load(await response.blob(), "sample.jpg");
}

function take(files) {
  const file = [...files].find(({ type, name }) => type.startsWith("image/") || /\.(tiff?|bmp|webp)$/i.test(name)) ?? files[0];
  if (!file) return;
  if (body.dataset.mode !== "picture") setMode("picture");
  load(file, file.name || "pasted.png");
}

function listen() {
  $("video").addEventListener("resize", () => setAspect($("video").videoWidth, $("video").videoHeight));
  $("split").addEventListener("input", setSplit);
  $("strength").addEventListener("input", setStrength);
  $("keep-colors").addEventListener("change", setColors);
  $("mirror").addEventListener("change", () => $("compare").classList.toggle("mirrored", $("mirror").checked));
  $("size").addEventListener("change", paint);
  $("file").addEventListener("change", (event) => take(event.target.files));
  $("sample").addEventListener("click", loadSample);
  $("download").addEventListener("click", download);
  $("mode-picture").addEventListener("click", () => setMode("picture"));
  $("mode-camera").addEventListener("click", () => setMode("camera"));
  $("camera-start").addEventListener("click", startCamera);
  $("camera-stop").addEventListener("click", stopCamera);
  $("snapshot").addEventListener("click", () => $("live").toBlob((blob) => save(blob, `camera-${chosen.style}.png`)));
  $("rate").addEventListener("change", () => camera.change(cameraSettings()));
  $("width").addEventListener("change", () => camera.change(cameraSettings()));
  $("alert-close").addEventListener("click", forgive);
  addEventListener("paste", (event) => take(event.clipboardData.files));
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    $("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop").hidden = true;
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    take(event.dataTransfer.files);
  });
}

/** The settings in the address: `?camera&clean&style=..&strength=..&keep_colors&rate=..&width=..&mirror=0`. */
function followAddress() {
  const flag = (name) => query.has(name) && !["0", "false"].includes(query.get(name));
  body.classList.toggle("clean", flag("clean"));
  if (query.has("strength")) $("strength").value = query.get("strength");
  $("keep-colors").checked = flag("keep_colors");
  if (query.has("rate")) $("rate").value = query.get("rate");
  if (query.has("width")) $("width").value = query.get("width");
  $("mirror").checked = query.has("mirror") ? flag("mirror") : !flag("clean");
  $("compare").classList.toggle("mirrored", $("mirror").checked);
  chosen.keep_colors = $("keep-colors").checked;
  return flag("camera") ? "camera" : "picture";
}

async function begin() {
  const mode = followAddress();
  listen();
  setSplit();
  setStrength();
  try {
    await loadStyles();
    if (mode === "camera") {
      setMode("camera");
      if (body.classList.contains("clean")) await startCamera();
    } else {
      await loadSample();
    }
  } catch (error) {
    complain(readable(error));
  }
  body.dataset.ready = "true";
}

begin();
