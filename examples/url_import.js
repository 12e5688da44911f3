/**
 * A module from a URL, with nothing installed and no configuration. After `deno task build`, serve dist/ (such as
 * `python3 -m http.server 8000 --directory dist`), and then, in any folder:
 * `deno run --allow-import=localhost:8000 --allow-net=localhost:8000 url_import.js http://localhost:8000/tome-edge.js`
 */
const url = Deno.args[0] ?? "http://localhost:8000/tome-edge.js"; // in your own program, write it into the import
const { loadPipeline } = await import(url);

const pipe = await loadPipeline(); // the embedded model, from the same place
const { images, stats } = await pipe.generate({
  prompt: "a 3d icon of a red apple",
  seed: 3,
  width: 64,
  height: 64,
});
console.log(`${images[0].png().length} bytes of PNG from ${stats.device}`); // to write it, --allow-write too
await pipe.dispose();
