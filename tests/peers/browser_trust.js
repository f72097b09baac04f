// An owner gives the gateway an authority of its own, installs it, makes a passkey, signs in and proves with it, and sets the gateway back.
// The first browser has not installed anything; the second has.
"use strict";
const fs = require("node:fs");
const { beside, check, claim, faults, look, run, visitor } = require("./visit.js");

const { url, code, password, authority, shots, stage } = JSON.parse(process.argv[2]);
const LOOKS = [
  { lang: "en", width: 360 }, { lang: "zh-CN", scheme: "dark", width: 1280 }, { lang: "zh-CN", width: 360, js: false },
];

async function lookAround(browser, state, pages) {
  for (const given of LOOKS) {
    const at = await visitor(browser, { ...given, state });
    for (const [name, where] of pages) {
      const answer = await at.page.goto(url + where);
      if (answer.status() !== 200) faults.push(`${name}: ${answer.status()}`);
      await look(at, name, shots);
    }
    await at.context.close();
  }
}

/** Behind a certificate that nobody vouches for. */
async function untrusting(browser) {
  const owner = await visitor(browser);
  const { page } = owner;
  await claim(owner, url, code, password);
  await page.goto(`${url}security/passkeys`);
  check((await page.locator("form[data-passkey]").count()) === 0, "no passkey without trust");
  await page.goto(`${url}security/authority`);
  await look(owner, "authority-none", shots);
  await page.click("main form button.button");
  await page.waitForSelector("a[download]");
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("a[download]")]);
  check(file.suggestedFilename() === "cardea-authority.crt", file.suggestedFilename());
  fs.copyFileSync(await file.path(), authority);
  const state = await owner.context.storageState();
  await lookAround(browser, state, [["authority", "security/authority"], ["security-authority", "security"], ["passkeys-none", "security/passkeys"],
    ["reset", "system/reset"]]);
}

/** With the authority installed: no warning is clicked away. */
async function trusting(browser) {
  const owner = await visitor(browser, { trusting: false });
  const { page } = owner;
  const devtools = await owner.context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options: {
    protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true,
  } });
  await page.goto(url);
  check(await page.evaluate(() => window.isSecureContext), "the browser trusts the page");
  check((await page.locator("form[data-passkey]").count()) === 0, "no passkey is offered where there is none");
  await page.fill("#password", password);
  await page.click("main button");
  await page.waitForURL(url);
  await page.goto(`${url}security/passkeys`);
  await page.fill("#name", "<b>My phone</b>");
  await look(owner, "passkey-add", shots);
  await page.click("form[data-passkey] button");
  await page.locator(".list li").waitFor();
  check((await page.textContent(".list")).includes("<b>My phone</b>"), "its name is text");
  await look(owner, "passkeys", shots);

  await page.click("header form[action='/sign-out'] button");
  await page.waitForURL(/sign-in$/);
  await page.locator("form[data-passkey]").waitFor();
  await look(owner, "sign-in-passkey", shots);
  await page.click("form[data-passkey] button");
  await page.waitForURL(url);
  await page.goto(`${url}prove?for=pair`);
  await page.click("form[data-passkey] button");
  await page.waitForURL(/\/pair$/);

  // A device that does not verify who holds it gets nobody in, and the password still does.
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  await page.goto(`${url}prove?for=pair`);
  await page.click("form[data-passkey] button");
  await page.locator("form[data-passkey] [role=status]", { hasText: "The password works" }).waitFor();
  await page.fill("#password", password);
  await page.click("main form button.button:not(.second)");
  await page.waitForURL(/\/pair$/);

  await page.goto(`${url}security/passkeys`);
  await page.click(".list button");
  await page.locator(".list li").waitFor({ state: "detached" });

  // The end: what goes and what stays is on the page, and the gateway's name is typed.
  await page.goto(`${url}system/reset`);
  await page.fill("#gateway", "gw-other");
  await page.click("main form .danger");
  check(await page.locator("[role=alert]").isVisible(), "another name does nothing");
  await page.fill("#gateway", "gw-test");
  await page.click("main form .danger");
  await page.locator("h2", { hasText: "being set back" }).waitFor();
  await look(owner, "reset-done", shots);
  check((await beside("is reset")) === "ok", "the gateway is nobody's");
}

run([], stage === "untrusting" ? untrusting : trusting);
