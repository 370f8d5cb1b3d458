// What all figures share: a measured width, an axis, a caption.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

/** Width of an element, followed as the window changes. */
export function useWidth(first = 320) {
  const ref = useRef(null);
  const [width, setWidth] = useState(first);
  useLayoutEffect(() => {
    const measure = () => setWidth(Math.max(240, Math.floor(ref.current.clientWidth)));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/** A figure with a title that says what it shows, and a caption. */
export function Figure({ title, children, caption }) {
  return (
    <figure>
      <h3>{title}</h3>
      {children}
      {caption && <figcaption>{caption}</figcaption>}
    </figure>
  );
}

/** A horizontal axis of a d3 scale, with its ticks below the line. */
export function AxisBelow({ scale, y, ticks = 10, format = String }) {
  const [from, to] = scale.range();
  return (
    <g class="axis" transform={`translate(0,${y})`}>
      <line x1={from} x2={to} />
      {scale.ticks(ticks).map((tick) => (
        <g key={tick} transform={`translate(${scale(tick)},0)`}>
          <line y2="4" />
          <text y="15" text-anchor="middle">
            {format(tick)}
          </text>
        </g>
      ))}
    </g>
  );
}

/** A vertical axis of a d3 scale, with quiet lines across. */
export function AxisLeft({ scale, x, width, ticks = 4, format = String }) {
  return (
    <g class="axis" transform={`translate(${x},0)`}>
      {scale.ticks(ticks).map((tick) => (
        <g key={tick} transform={`translate(0,${scale(tick)})`}>
          <line class="grid" x2={width} />
          <text x="-5" dy="0.32em" text-anchor="end">
            {format(tick)}
          </text>
        </g>
      ))}
    </g>
  );
}
