import { useEffect, useRef, useState } from "hono/jsx/dom";
import { parseParameters } from "../../../image/parameters.ts";
import { type Drawn, type Model, models as askModels, Problem } from "./api.ts";
import { CompareView, type Pair } from "./compare.tsx";
import { readParameters, useDrop } from "./drop.ts";
import { Form } from "./form.tsx";
import { ratioText } from "./format.ts";
import { History } from "./history.tsx";
import * as store from "./history_store.ts";
import { type Mapped, MapView } from "./map.tsx";
import { Footer, Header } from "./frame.tsx";
import { PictureView, Progress } from "./picture_view.tsx";
import { release } from "./picture.ts";
import { useRun } from "./run.ts";
import {
  fromParameters,
  fromRequest,
  keep,
  randomSeed,
  type Request,
  restore,
  type Settings,
  toRequest,
  withRatio,
} from "./settings.ts";
import { ratiosUpTo, RatiosView, type Strip } from "./strip.tsx";
import { panelProps, Tabs, type View } from "./tabs.tsx";

/** The form and the pictures stand side by side. */
const isWide = () => matchMedia("(min-width: 60rem)").matches;

const ACTIONS: Record<View, string> = {
  picture: "Draw",
  compare: "Draw both",
  map: "Draw with its map",
  ratios: "Draw the strip",
};

export function App() {
  const [settings, setSettings] = useState<Settings>(restore);
  const [models, setModels] = useState<Model[]>([]);
  const [view, setView] = useState<View>("picture");
  const [picture, setPicture] = useState<Drawn | null>(null);
  const [pair, setPair] = useState<Pair | null>(null);
  const [mapped, setMapped] = useState<Mapped | null>(null);
  const [strip, setStrip] = useState<Strip | null>(null);
  const [history, setHistory] = useState<Drawn[]>([]);
  const [historyNote, setHistoryNote] = useState("");
  const [fileNote, setFileNote] = useState<{ text: string; bad: boolean } | null>(null);
  const kept = useRef<Drawn[]>([]); // what `history` will be: pictures come faster than renders
  const run = useRun();
  const { running, problem } = run;

  const loaded = models.find((m) => m.loaded)?.info;
  const info = settings.model ? models.find((m) => m.id === settings.model)?.info : loaded;

  const change = (part: Partial<Settings>) => {
    setSettings((before) => {
      const after = { ...before, ...part };
      keep(after);
      return after;
    });
  };

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        const found = await askModels();
        setModels(found);
        if (found.some((m) => m.loaded)) return;
      } catch (error) {
        run.fail(error instanceof Problem ? error : new Problem(0, (error as Error).message));
      }
      timer = setTimeout(look, 1000); // the server listens before its model is loaded
    };
    void look();
    store.load().then(
      (all) => setHistory(kept.current = all),
      () => setHistoryNote("This browser keeps nothing for this page, so the history ends with it."),
    );
    return () => clearTimeout(timer);
  }, []);

  useEffect(() => {
    document.title = running ? `${Math.floor(running.progress * 100)} % · tome-edge` : "tome-edge";
  }, [running]);

  const remember = async (drawn: Drawn) => {
    try {
      setHistory(kept.current = await store.add(drawn, kept.current));
    } catch {
      setHistory(kept.current = [drawn, ...kept.current]);
      setHistoryNote("This browser has no room for more pictures: what is drawn now ends with the page.");
    }
  };

  const draw = async () => {
    if (running) return;
    const request = toRequest(settings);
    // The other views look into the picture that is there: its seed stays.
    if (
      request.seed === undefined ||
      view === "picture" && !settings.keepSeed && picture?.request.seed === request.seed
    ) {
      const seed = randomSeed();
      change({ seed });
      request.seed = Number(seed);
    }
    setFileNote(null);
    if (!isWide()) document.getElementById("stage")?.scrollIntoView();
    if (view === "picture") await drawPicture(request);
    else if (view === "compare") await drawPair(request);
    else if (view === "map") await drawMap(request);
    else await drawStrip(request);
    focusProblem();
    if (models.length > 1) askModels().then(setModels, () => {}); // another one may be loaded now
  };

  const drawPicture = (request: Request) =>
    run.start([{ label: "Drawing", request }], (drawn) => {
      setPicture(drawn);
      void remember(drawn);
    });

  const drawPair = async (request: Request) => {
    if (request.token_merging.ratio === 0) {
      const message = "Cannot compare with no merging: expected a merge ratio above 0, found 0";
      return run.fail(new Problem(0, message, "ratio"));
    }
    const drawn: Drawn[] = [];
    setPair(null);
    await run.start([
      { label: "Drawing without merging", request: withRatio(request, 0) },
      { label: `Drawing at ratio ${ratioText(request.token_merging.ratio)}`, request },
    ], (one, i) => {
      drawn[i] = one;
      setPair({ before: drawn[0], after: drawn[1] });
      if (i === 1) setPicture(one);
      void remember(one);
    });
  };

  const drawMap = (request: Request) => {
    const steps: Mapped["steps"] = [];
    setMapped(null);
    return run.start([{
      label: "Drawing, and reading what merged",
      request,
      mergeMaps: true,
      onStep: (step) => steps.push(step),
    }], (drawn) => {
      setMapped({ drawn, steps });
      setPicture(drawn);
      void remember(drawn);
    });
  };

  const drawStrip = (request: Request) => {
    const ratios = ratiosUpTo(request.token_merging);
    const drawn: Drawn[] = [];
    setStrip({ ratios, drawn: [] });
    return run.start(
      ratios.map((ratio) => ({
        label: ratio === 0 ? "Drawing without merging" : `Drawing at ratio ${ratioText(ratio)}`,
        request: withRatio(request, ratio),
      })),
      (one) => {
        drawn.push(one);
        setStrip({ ratios, drawn: [...drawn] });
      },
    );
  };

  /** To what the server does not take, once it is shown. */
  const focusProblem = () =>
    setTimeout(() => document.querySelector<HTMLElement>("[aria-invalid=true]")?.focus(), 50);

  const reuse = (drawn: Drawn) => {
    change(fromRequest(drawn.request));
    run.fail(null);
    setFileNote(null);
    document.getElementById("prompt")?.focus();
  };

  const read = async (file: File) => {
    try {
      const text = await readParameters(file);
      const { settings, notes } = fromParameters(parseParameters(text), models.map((m) => m.id));
      change(settings);
      run.fail(null);
      setFileNote({
        text: [`The settings of ${file.name} are in the form`, ...notes].join("; ") + ".",
        bad: false,
      });
    } catch (error) {
      setFileNote({ text: (error as Error).message, bad: true });
    }
  };
  const over = useDrop(read);

  const forget = async (drawn: Drawn) => {
    setHistory(kept.current = kept.current.filter((d) => d !== drawn));
    if (![picture, pair?.before, pair?.after, mapped?.drawn].includes(drawn)) release(drawn);
    await store.remove(drawn.id).catch(() => {});
  };
  const forgetAll = async () => {
    setHistory(kept.current = []);
    await store.removeAll().catch(() => {});
  };

  return (
    <div class={over ? "app over" : "app"}>
      <a class="skip" href="#stage">Skip to the picture</a>
      <Header info={loaded} />
      <main>
        <Form
          settings={settings}
          onChange={change}
          models={models}
          info={info}
          problem={problem}
          action={ACTIONS[view]}
          busy={running !== null}
          onDraw={draw}
          onCancel={run.cancel}
          onFile={read}
          fileNote={fileNote}
        />
        <div class="stage" id="stage" tabindex={-1}>
          <section class="card view" aria-label="Pictures">
            <Tabs view={view} onView={setView} />
            <Progress running={running} news={run.news} onCancel={run.cancel} />
            <p class="hidden" role="status" id="news">{run.news}</p>
            <div {...panelProps(view)}>
              {view === "picture"
                ? <PictureView drawn={picture} running={running} onReuse={reuse} onView={setView} />
                : view === "compare"
                ? <CompareView pair={pair} running={running} />
                : view === "map"
                ? <MapView mapped={mapped} running={running} />
                : <RatiosView strip={strip} running={running} />}
            </div>
          </section>
          <History
            list={history}
            note={historyNote}
            shown={picture}
            onShow={(drawn) => {
              setPicture(drawn);
              setView("picture");
            }}
            onReuse={reuse}
            onForget={forget}
            onForgetAll={forgetAll}
          />
        </div>
      </main>
      <Footer info={loaded} />
      <div class="drop-here" aria-hidden="true">
        <p>Drop the PNG to get its settings</p>
      </div>
    </div>
  );
}
