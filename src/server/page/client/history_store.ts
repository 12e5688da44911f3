import { clear, createStore, del, entries, set } from "idb-keyval";
import type { Drawn } from "./api.ts";

/** Pictures that are kept; the oldest go first. */
const MOST = 60;

let store: ReturnType<typeof createStore> | undefined;
const opened = () => store ??= createStore("tome-edge", "pictures");

/** All that are kept, the newest first. */
export async function load(): Promise<Drawn[]> {
  const all = (await entries<string, Drawn>(opened())).map(([, drawn]) => drawn);
  return all.sort((a, b) => b.createdAt - a.createdAt);
}

/** Adds one to a list, newest first, and to what is kept. */
export async function add(drawn: Drawn, before: readonly Drawn[]): Promise<Drawn[]> {
  const list = [drawn, ...before];
  const old = list.splice(MOST);
  await set(drawn.id, drawn, opened());
  await Promise.all(old.map(({ id }) => del(id, opened())));
  return list;
}

export async function remove(id: string): Promise<void> {
  await del(id, opened());
}

export async function removeAll(): Promise<void> {
  await clear(opened());
}
