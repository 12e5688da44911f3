import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** The licences of packages that are in a bundle, which must come with it. */
export async function licences(packages: readonly string[]): Promise<string> {
  const texts: string[] = [];
  for (const name of packages) {
    const folder = await folderOf(name);
    const { version, license } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
    const file = (await readdir(folder)).find((file) => /^licen[cs]e(\.|$)/i.test(file));
    // @assemblyscript/loader has none: its package.json names the licence, and its README the project.
    const text = file ? await readFile(new URL(file, folder), "utf8") : `Licensed under ${license}.`;
    texts.push(`${name} ${version}\n\n${text.trim()}\n`);
  }
  return `What dist/ holds of other packages.\n\n${texts.join("\n\n")}`;
}

/** Where the package's files are: the folder above what it exports that has its package.json. */
async function folderOf(name: string): Promise<URL> {
  for (let at = new URL(import.meta.resolve(name)); at.pathname !== "/"; at = new URL("..", at)) {
    try {
      const { name: found } = JSON.parse(await readFile(new URL("package.json", at), "utf8"));
      if (found === name) return new URL(".", at);
    } catch {
      // Further up.
    }
  }
  throw new Error(`Cannot find the package ${name} from ${fileURLToPath(import.meta.url)}`);
}
