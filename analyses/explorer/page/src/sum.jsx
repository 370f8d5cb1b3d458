// The sum as one writes it: operands to type into, the answer of each network below, column by column.

import { carriesOf, digitsOf, numberOf } from "./layout.js";
import { sayAnswer, say } from "./words.js";

/** One digit of an operand, or of an answer that may be replaced. */
function Digit({ label, name, value, title, longest, kind, onKey, onType }) {
  return (
    <input
      class={kind}
      data-cell={name}
      aria-label={label}
      title={title}
      inputmode="numeric"
      autocomplete="off"
      maxlength={longest}
      size={longest}
      value={value}
      onFocus={(event) => event.target.select()}
      onClick={(event) => event.target.select()}
      onKeyDown={onKey}
      onInput={onType}
    />
  );
}

/** Move the cursor by cells within the table. */
function focusCell(event, name) {
  event.currentTarget.closest("table").querySelector(`[data-cell="${name}"]`)?.focus();
}

/** Cells of an operand. */
function Operand({ name, digits, layout, columns, at, setDigits, choose }) {
  const longest = String(layout.base - 1).length;
  const move = (event, column) => {
    if (column >= 0 && column < layout.width) focusCell(event, `${name}${column}`);
  };
  const put = (column, digit) => {
    const copy = [...digits];
    copy[column] = digit;
    setDigits(copy);
    choose(`s${column}`);
  };
  const onKey = (column) => (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (step) put(column, (digits[column] + step + layout.base) % layout.base);
    else if (event.key === "ArrowLeft") move(event, column + 1);
    else if (event.key === "ArrowRight") move(event, column - 1);
    else if (event.key === "Home") move(event, layout.width - 1);
    else if (event.key === "End") move(event, 0);
    else if (event.key === "Backspace" || event.key === "Delete") {
      put(column, 0);
      move(event, column + (event.key === "Backspace" ? 1 : -1));
    } else if (longest === 1 && /^\d$/.test(event.key) && !event.ctrlKey && !event.metaKey) {
      if (Number(event.key) < layout.base) put(column, Number(event.key));
      move(event, column - 1);
    } else return;
    event.preventDefault();
  };
  // Phones type without keys, and numbers may be pasted: then the field itself has changed.
  const onType = (column) => (event) => {
    const typed = event.target.value.replace(/\D/g, "");
    const digit = Number(typed.slice(-longest));
    if (typed && digit < layout.base) put(column, digit);
    event.target.value = String(typed && digit < layout.base ? digit : digits[column]);
    if (typed.length >= longest) move(event, column - 1);
  };
  const onPaste = (event) => {
    const text = event.clipboardData.getData("text").replace(/[\s,._']/g, "");
    if (!/^\d{1,40}$/.test(text)) return;
    event.preventDefault();
    const value = BigInt(text);
    if (value < layout.capacity) setDigits(digitsOf(value, layout.width, layout.base));
  };
  return (
    <tr class="operand" onPaste={onPaste}>
      <th scope="row">{name === "b" ? "+ b" : "a"}</th>
      {columns.map((column) => (
        <td key={column} class={`s${column}` === at ? "at" : ""}>
          {column < layout.width && (
            <Digit
              name={`${name}${column}`}
              label={`digit ${name}${column}`}
              value={layout.say(layout.digitToken(digits[column]))}
              longest={longest}
              kind="digit"
              onKey={onKey(column)}
              onType={onType(column)}
            />
          )}
        </td>
      ))}
      <td />
    </tr>
  );
}

/** The answer of one network: what it says, its digits, and their margins. */
function Answer({ view, slot, columns, at, shown, largest, change }) {
  const { network, decoded, before } = view;
  const { layout } = network;
  const hidden = (step) => shown !== null && step >= shown;
  const steps = [...columns.map((column) => layout.stepOf(column))];
  if (layout.end !== null) steps.push(layout.nAnswer);
  const pad = layout.end === null ? <td /> : null;
  const replaced = (step) => slot.changes[`d.${layout.nameOf(step)}`] !== undefined;
  const onKey = (step) => (event) => {
    const key = `d.${layout.nameOf(step)}`;
    if (event.key === "Backspace" || event.key === "Delete") change(key, null);
    else if (/^\d$/.test(event.key) && Number(event.key) < layout.base) {
      change(key, layout.digitToken(Number(event.key)));
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const by = event.key === "ArrowUp" ? 1 : -1;
      const token = decoded.fed[step];
      const digit = layout.isDigit(token) ? token - layout.first_digit : 0;
      change(key, layout.digitToken((digit + by + layout.base) % layout.base));
    } else if (event.key === "ArrowLeft") focusCell(event, `${slot.side}.${step + 1}`);
    else if (event.key === "ArrowRight") focusCell(event, `${slot.side}.${step - 1}`);
    else return;
    event.preventDefault();
  };
  const longest = String(layout.base - 1).length;
  const onType = (step) => (event) => {
    const typed = event.target.value.replace(/\D/g, "").slice(-longest);
    if (typed && Number(typed) < layout.base) {
      change(`d.${layout.nameOf(step)}`, layout.digitToken(Number(typed)));
    }
    event.target.value = layout.say(decoded.fed[step]);
  };
  const cell = (step) => {
    const name = layout.nameOf(step);
    const [token, truth] = [decoded.fed[step], decoded.truth[step]];
    const kind = ["answer", replaced(step) && "replaced", token !== truth && "wrong"];
    const own = decoded.tokens[step];
    const title = replaced(step)
      ? `put in; the network itself answers ${layout.say(own)}`
      : "type a digit to put it in for the columns that follow";
    if (hidden(step)) return <span class="answer later">·</span>;
    if (step >= layout.nAnswer) {
      return (
        <span class={token === truth ? "end" : "end wrong"} title={layout.say(token)}>
          {token === truth ? "■" : layout.say(token)}
        </span>
      );
    }
    return (
      <Digit
        name={`${slot.side}.${step}`}
        label={`answer ${name} of ${network.name}${token === truth ? "" : ", wrong"}`}
        title={title}
        value={layout.isDigit(token) ? layout.say(token) : "×"}
        longest={longest}
        kind={kind.filter(Boolean).join(" ")}
        onKey={onKey(step)}
        onType={onType(step)}
      />
    );
  };
  const classOf = (step) => (layout.nameOf(step) === at ? "at" : "");
  const differs = before && before.fed.some((token, step) => token !== decoded.fed[step]);
  return (
    <tbody>
      <tr class="says">
        <th scope="rowgroup" colspan={columns.length + 2}>
          <b>{network.name}</b> {sayAnswer(network, decoded, slot.changes)}
        </th>
      </tr>
      <tr>
        <th scope="row">
          <span class="hide">answer</span>
        </th>
        {steps.map((step) => (
          <td key={step} class={classOf(step)}>
            {cell(step)}
          </td>
        ))}
        {pad}
      </tr>
      {before && (
        <tr class="before">
          <th scope="row" title="the answer without changes">
            before
          </th>
          {steps.map((step) => (
            <td key={step} class={classOf(step)}>
              <span class={before.fed[step] === decoded.fed[step] ? "same" : "other"}>
                {step >= layout.nAnswer ? "" : layout.say(before.fed[step])}
              </span>
            </td>
          ))}
          {pad}
        </tr>
      )}
      <tr class="margins">
        <th scope="row">
          margin
          {differs && <span class="hide"> (the answer has changed)</span>}
        </th>
        {steps.map((step) => (
          <td key={step} class={classOf(step)}>
            {!hidden(step) && <Margin value={decoded.margins[step]} largest={largest} />}
          </td>
        ))}
        {pad}
      </tr>
    </tbody>
  );
}

/** A margin as a bar: up in blue where it is right, down in orange where it is not. */
function Margin({ value, largest }) {
  const height = Math.max(1, Math.min(14, (14 * Math.abs(value)) / largest));
  const text = `margin ${say(value)}`;
  return (
    <svg class="margin" width="14" height="30" role="img" aria-label={text}>
      <title>{text}</title>
      <line class="rule" x1="0" x2="14" y1="15.5" y2="15.5" />
      <rect
        class={value > 0 ? "plus" : "minus"}
        x="3"
        width="8"
        y={value > 0 ? 15 - height : 16}
        height={height}
      />
    </svg>
  );
}

/** The whole sum; `views` are the networks with what they answered. */
export function Sum({ state, views, setNumbers, choose, change }) {
  const { layout } = views[0].network;
  const { base, width } = layout;
  const [a, b] = [state.a, state.b].map((value) => digitsOf(value, width, base));
  const carries = carriesOf(layout, a, b);
  const columns = Array.from({ length: layout.nAnswer }, (_, i) => layout.nAnswer - 1 - i);
  const margins = views.flatMap((view) => view.decoded.margins.slice(0, layout.nAnswer).map(Math.abs));
  const largest = Math.max(1e-9, ...margins);
  const anyEnd = views.some((view) => view.network.layout.end !== null);
  const operand = (name, digits) => (
    <Operand
      {...{ name, digits, layout, columns, choose }}
      at={state.at}
      setDigits={(copy) => setNumbers({ [name]: numberOf(copy, base) })}
    />
  );
  return (
    <table class="sum">
      <caption class="hide">The sum, one column a digit; columns are chosen by their number.</caption>
      <thead>
        <tr>
          <th scope="row" class="soft">
            column
          </th>
          {[...columns.map((column) => `s${column}`), anyEnd ? "end" : null].map((name) => (
            <th key={name} scope="col" class={name === state.at ? "at" : ""}>
              {name && (
                <button
                  type="button"
                  class="column"
                  aria-pressed={name === state.at}
                  aria-label={`column ${name}`}
                  onClick={() => choose(name)}
                >
                  {name === "end" ? "end" : name.slice(1)}
                </button>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        <tr class="carry">
          <th scope="row">carry</th>
          {columns.map((column) => (
            <td key={column} class={`s${column}` === state.at ? "at" : ""}>
              {carries[column] ? 1 : ""}
            </td>
          ))}
          <td />
        </tr>
        {operand("a", a)}
        {operand("b", b)}
      </tbody>
      {views.map((view, i) => (
        <Answer
          key={i}
          {...{ view, columns, largest }}
          slot={{ ...state.slots[i], side: i }}
          at={state.at}
          shown={state.shown}
          change={(key, value) => change(i, key, value)}
        />
      ))}
    </table>
  );
}
