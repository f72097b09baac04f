// The page's only script: replaces what has changed, as the gateway tells it, and reads labels. Every page works without it.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const lost = document.getElementById("lost");
  const said = document.getElementById("said");

  const show = (id, html) => {
    const place = document.getElementById(id);
    if (!place) return;
    // A keyboard that stands on a link in here keeps standing on it.
    const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
    place.innerHTML = html;
    const again = focused && document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  };

  const source = new EventSource(live.dataset.live);
  source.onopen = () => { lost.hidden = true; };
  source.onerror = () => { lost.hidden = false; };
  source.onmessage = (event) => {
    const parts = JSON.parse(event.data);
    for (const id of Object.keys(parts)) {
      // What a screen reader is told is text, and only when it changes.
      if (id === "said") {
        if (said.textContent !== parts.said) said.textContent = parts.said;
      } else {
        show(id, parts[id]);
      }
    }
  };
  // The session is over: the page that comes instead says so.
  source.addEventListener("over", () => { source.close(); location.reload(); });
  window.addEventListener("pagehide", () => source.close());
})();

// Labels by photo and camera. Pictures are looked at here and never sent.
(async () => {
  const scan = document.getElementById("scan");
  // Only where the browser reads codes itself: Chrome on Android, ChromeOS and macOS, and what is made of it.
  if (!scan || !window.createImageBitmap || !window.BarcodeDetector) return;
  if (!(await BarcodeDetector.getSupportedFormats()).includes("qr_code")) return;
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  const label = document.getElementById("label");
  const said = document.getElementById("scanned");
  const view = document.getElementById("view");
  const camera = document.getElementById("camera");
  const radioLabel = /^cardea:1\/|Z:[0-9a-f]{16}\$I:|^G\$M:|^LW:D0:|^[0-9a-f]{16}\|[0-9a-f]/i;
  scan.hidden = false;
  if (!navigator.mediaDevices) camera.hidden = true;

  // Large photos cost seconds and are read no better; what is not found in 1,000 pixels may be in 2,000.
  const read = async (source, width, height, sides) => {
    const canvas = document.createElement("canvas");
    for (const side of sides) {
      const scale = Math.min(1, side / Math.max(width, height));
      canvas.width = Math.max(1, Math.round(width * scale));
      canvas.height = Math.max(1, Math.round(height * scale));
      canvas.getContext("2d", { willReadFrequently: true }).drawImage(source, 0, 0, canvas.width, canvas.height);
      const [code] = await detector.detect(canvas);
      if (code) return code.rawValue.trim();
    }
    return "";
  };

  // What is no radio label is not even shown: it may be the owner code.
  const take = (text) => {
    const ours = radioLabel.test(text);
    if (ours) label.value = text;
    said.textContent = ours ? scan.dataset.done : scan.dataset.other;
    if (ours) document.querySelector("form.card button").focus();
    return ours;
  };

  document.getElementById("photo").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      const picture = await createImageBitmap(file);
      const text = await read(picture, picture.width, picture.height, [1000, 2000]);
      picture.close();
      if (text) take(text); else said.textContent = scan.dataset.none;
    } catch {
      said.textContent = scan.dataset.none;
    }
    event.target.value = "";
  });

  let stream;
  const stop = () => {
    if (stream) for (const track of stream.getTracks()) track.stop();
    stream = undefined;
    view.srcObject = null;
    view.hidden = true;
  };
  window.addEventListener("pagehide", stop);
  camera.addEventListener("click", async () => {
    if (stream) return stop();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      view.srcObject = stream;
      view.hidden = false;
      await view.play();
      while (stream) {
        const text = view.videoWidth ? await read(view, view.videoWidth, view.videoHeight, [800]) : "";
        if (text && take(text)) return stop();
        await new Promise((later) => setTimeout(later, 250));
      }
    } catch {
      stop();
      said.textContent = scan.dataset.denied;
    }
  });
})();

// Passkeys. The browser makes and uses them; what it says goes to the gateway by the form that they stand in.
(() => {
  const form = document.querySelector("form[data-passkey]");
  if (!form || !window.PublicKeyCredential || !window.isSecureContext) return;
  const said = form.querySelector("[role=status]");
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const { challenge, user, name, failed } = form.dataset;
  const ask = { challenge: bytes(challenge), timeout: 120_000, userVerification: "required" };
  form.hidden = false;

  const make = () => navigator.credentials.create({ publicKey: {
    ...ask,
    rp: { id: location.hostname, name: `Cardea ${name}` },
    user: { id: bytes(user), name, displayName: `Cardea ${name}` },
    pubKeyCredParams: [{ type: "public-key", alg: -7 }],
    authenticatorSelection: { residentKey: "required", userVerification: "required" },
    attestation: "none",
  } });
  const use = () => navigator.credentials.get({ publicKey: { ...ask, rpId: location.hostname } });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "";
    try {
      const made = form.dataset.passkey === "add";
      const { rawId, response } = await (made ? make() : use());
      form.elements.client.value = text(response.clientDataJSON);
      form.elements.device.value = text(made ? response.getAuthenticatorData() : response.authenticatorData);
      if (!made) {
        form.elements.id.value = text(rawId);
        form.elements.signature.value = text(response.signature);
      }
      form.submit();
    } catch {
      said.textContent = failed;
    }
  });
})();
