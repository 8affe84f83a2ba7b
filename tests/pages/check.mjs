// Opens pages in a real browser, on a telephone's and a desk's width, by day and by night, and asks axe what is wrong.
// usage: node check.mjs CHROMIUM PAGE...   (axe-core and puppeteer-core beside it, see ../long/pages.sh)
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const require = createRequire(process.cwd() + "/");
const { default: puppeteer } = await import(pathToFileURL(require.resolve("puppeteer-core")).href);
const axe = require.resolve("axe-core/axe.min.js");
const [chromium, ...pages] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
let wrong = 0;
let looks = 0;
const found = (page, look, what) => { wrong += 1; console.log(`${page} (${look}): ${what}`); };
for (const page of pages) {
  for (const width of [375, 1280]) {
    for (const scheme of ["light", "dark"]) {
      const look = `${width} px, ${scheme}`;
      const tab = await browser.newPage();
      const asked = [];
      tab.on("request", (request) => { if (!request.url().startsWith("file:")) asked.push(request.url()); });
      tab.on("pageerror", (error) => found(page, look, `script: ${error.message}`));
      await tab.setViewport({ width, height: 900 });
      await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await tab.goto(pathToFileURL(page).href);
      const over = await tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (over > 0) found(page, look, `${over} px wider than the screen`);
      if (asked.length > 0) found(page, look, `asks the network: ${asked[0]}`);
      await tab.addScriptTag({ path: axe });
      const { violations } = await tab.evaluate(() => window.axe.run());
      for (const { id, help, nodes } of violations) found(page, look, `${id}: ${help}; ${nodes.length} times, first ${nodes[0].target}`);
      looks += 1;
      await tab.close();
    }
  }
}
await browser.close();
console.log(`${pages.length} pages, ${looks} looks, ${wrong} wrong`);
process.exit(wrong === 0 && looks > 0 ? 0 : 1);
