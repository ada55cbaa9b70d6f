// One line chart over time: uPlot with dashed limits labelled on the line, holes where nothing is known, and an end
// dot that is hollow when the value is old.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Limit } from '../protocol.ts';
import { clearest, overlap, type Box } from './label.ts';

export interface Chart {
  columns: [number[], (number | null)[]];
  /** Seconds since 1970 at both ends of the axis. */
  from: number;
  to: number;
  min: number;
  max: number;
  limits: readonly { limit: Limit; label: string; passed: boolean }[];
  stale: boolean;
  priority: number;
}
export interface Style {
  /** Pixels of type on the axes; everything else follows from it. */
  size: number;
  time(ms: number): string;
  /** A value axis with figures; a wall's small card has none. */
  values?: ((value: number) => string) | undefined;
  zone: string;
}

const EMPTY: Chart = { columns: [[], []], from: 0, to: 1, min: 0, max: 1, limits: [], stale: false, priority: 0 };
const INCREMENTS = [60, 120, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

export class Plot {
  readonly #element: HTMLElement;
  #plot: uPlot | null = null;
  #chart: Chart = EMPTY;
  #style: Style;
  #width = 0;
  #height = 0;
  readonly #observer: ResizeObserver;

  constructor(element: HTMLElement, style: Style) {
    this.#element = element;
    this.#style = style;
    this.#observer = new ResizeObserver(() => this.#fit());
    this.#observer.observe(element);
    // Canvas text drawn before the font has come would keep the substitute.
    void document.fonts.ready.then(() => this.#plot?.redraw());
  }

  update(chart: Chart): void {
    this.#chart = chart;
    this.#plot?.setData(chart.columns as uPlot.AlignedData);
  }

  restyle(style: Style): void {
    this.#style = style;
    this.#build();
  }

  destroy(): void {
    this.#observer.disconnect();
    this.#plot?.destroy();
  }

  #fit(): void {
    const width = Math.floor(this.#element.clientWidth);
    const height = Math.floor(this.#element.clientHeight);
    if (width < 20 || height < 20 || (width === this.#width && height === this.#height)) return;
    [this.#width, this.#height] = [width, height];
    this.#build();
  }

  #build(): void {
    if (!this.#width) return;
    this.#plot?.destroy();
    const css = getComputedStyle(this.#element);
    const colour = (name: string) => css.getPropertyValue(name).trim();
    const { size, time, values, zone } = this.#style;
    const font = `${size}px "Inter Variable", sans-serif`;
    const tone = (priority: number) => (priority ? colour(`--p${priority}`) : colour('--ink'));
    const axis = { stroke: colour('--soft'), font, ticks: { show: false }, border: { show: false } };
    this.#plot = new uPlot(
      {
        width: this.#width,
        height: this.#height,
        padding: [size * 0.4, size * 0.6, 0, values ? 0 : size * 0.2],
        legend: { show: false },
        cursor: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
        scales: {
          x: { time: true, range: () => [this.#chart.from, this.#chart.to] },
          y: { range: () => [this.#chart.min, this.#chart.max] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            gap: size * 0.3,
            size: size * 1.5,
            space: size * 5,
            incrs: INCREMENTS,
            // A label that would stick out at either end is left away rather than cut.
            values: (plot, splits) =>
              splits.map((seconds) => {
                const at = plot.valToPos(seconds, 'x') + plot.bbox.left / devicePixelRatio;
                return at < size * 1.5 || at > this.#width - size * 1.5 ? '' : time(seconds * 1000);
              }),
          },
          values
            ? {
                ...axis,
                grid: { stroke: colour('--line'), width: 1 },
                gap: size * 0.4,
                size: (_plot, labels) => Math.max(2, ...(labels ?? []).map((label) => label.length)) * size * 0.62 + size,
                space: size * 3,
                values: (_plot, splits) => splits.map(values),
              }
            : { show: false },
        ],
        series: [
          {},
          {
            stroke: () => colour(this.#chart.stale ? '--faint' : '--ink'),
            width: Math.max(1.5, size * 0.11),
            spanGaps: false,
            // A lone value between two silences has no line; without its dot it would not be there at all.
            points: { size: size * 0.4, fill: colour('--ink'), show: true, filter: (_plot, _series, _show) => this.#lone() },
          },
        ],
        hooks: {
          drawClear: [(plot) => this.#ground(plot, colour)],
          draw: [(plot) => this.#limits(plot, colour, font, tone), (plot) => this.#end(plot, colour, tone)],
        },
      },
      this.#chart.columns as uPlot.AlignedData,
      this.#element,
    );
  }

  #lone(): number[] {
    const ys = this.#chart.columns[1];
    return ys.flatMap((y, i) => (y !== null && (ys[i - 1] ?? null) === null && (ys[i + 1] ?? null) === null ? [i] : []));
  }

  #ground({ ctx, bbox, valToPos }: uPlot, colour: (name: string) => string): void {
    ctx.save();
    ctx.fillStyle = colour('--raised');
    ctx.fillRect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = 'rgb(255 255 255 / 6%)';
    for (const { limit } of this.#chart.limits) {
      const y = valToPos(limit.limit, 'y', true);
      if (limit.direction === 'down') ctx.fillRect(bbox.left, y, bbox.width, bbox.top + bbox.height - y);
      else ctx.fillRect(bbox.left, bbox.top, bbox.width, y - bbox.top);
    }
    ctx.restore();
  }

  #limits(plot: uPlot, colour: (name: string) => string, font: string, tone: (p: number) => string): void {
    const scale = devicePixelRatio;
    const size = this.#style.size * scale;
    const { ctx, bbox, valToPos } = plot;
    const taken: Box[] = [];
    ctx.save();
    ctx.font = font.replace(/^[\d.]+/, String(size));
    ctx.textBaseline = 'alphabetic';
    ctx.textAlign = 'left';
    // The worst that was passed first: when labels do not all fit, its own is the one to keep.
    const order = [...this.#chart.limits].sort(
      (a, b) => Number(b.passed) - Number(a.passed) || a.limit.priority - b.limit.priority,
    );
    for (const { limit, label, passed } of order) {
      const y = Math.round(valToPos(limit.limit, 'y', true));
      ctx.strokeStyle = passed ? tone(limit.priority) : colour('--faint');
      ctx.lineWidth = Math.max(1, size * 0.09);
      ctx.setLineDash([size * 0.5, size * 0.32]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      const box = this.#room(plot, y, Math.min(ctx.measureText(label).width, bbox.width - size * 0.5), taken);
      if (!box) continue;
      taken.push(box);
      const base = box.top + size * 0.9;
      ctx.setLineDash([]);
      ctx.lineWidth = size * 0.4;
      ctx.lineJoin = 'round';
      ctx.strokeStyle = colour('--raised');
      ctx.strokeText(label, box.left, base, bbox.width - size * 0.5);
      ctx.fillStyle = colour('--soft');
      ctx.fillText(label, box.left, base, bbox.width - size * 0.5);
    }
    ctx.restore();
  }

  /** Room for a label on its line, best to the left and above it; undefined if others have taken it all. */
  #room({ bbox, valToPos }: uPlot, y: number, width: number, taken: readonly Box[]): Box | undefined {
    const size = this.#style.size * devicePixelRatio;
    const [left, right] = [bbox.left + size * 0.25, bbox.left + bbox.width - size * 0.25];
    const free = [left, right - width]
      .flatMap((x) => [y - size * 1.22, y + size * 0.12].map((top) => ({ left: x, right: x + width, top, bottom: top + size * 1.15 })))
      .filter((box) => box.top >= bbox.top - size * 0.3 && box.bottom <= bbox.top + bbox.height + size * 0.15 && !taken.some((other) => overlap(box, other)));
    const [xs, ys] = this.#chart.columns;
    return clearest(
      free,
      xs.map((x) => valToPos(x, 'x', true)),
      ys.map((value) => (value === null ? null : valToPos(value, 'y', true))),
    );
  }

  #end({ ctx, valToPos }: uPlot, colour: (name: string) => string, tone: (p: number) => string): void {
    const [xs, ys] = this.#chart.columns;
    const last = ys.findLastIndex((y) => y !== null);
    if (last < 0 || xs[last]! < this.#chart.from) return;
    const size = this.#style.size * devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.arc(valToPos(xs[last]!, 'x', true), valToPos(ys[last]!, 'y', true), size * 0.27, 0, 2 * Math.PI);
    if (this.#chart.stale) {
      ctx.lineWidth = size * 0.13;
      ctx.strokeStyle = colour('--soft');
      ctx.fillStyle = colour('--raised');
      ctx.fill();
      ctx.stroke();
    } else {
      ctx.fillStyle = tone(this.#chart.priority);
      ctx.fill();
    }
    ctx.restore();
  }
}
