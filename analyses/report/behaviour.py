"""What the HTML report does when one touches it: tables sort, figures grow to the window."""

SCRIPT = """
const number = (text) => Number(text.replace(/[,\\u2009\\s%]/g, "").replace("\\u2212", "-"));
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return a.localeCompare(b, "en", { numeric: true });
  return x - y;
};
for (const table of document.querySelectorAll("figure.table table")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    const sort = () => {
      const next = { ascending: "descending", descending: "none" };
      const order = next[head.ariaSort] ?? "ascending";
      for (const other of heads) other.ariaSort = "none";
      head.ariaSort = order;
      const rows = [...original];
      const text = (row) => row.cells[column].textContent.trim();
      if (order !== "none") rows.sort((p, q) => compare(text(p), text(q)));
      if (order === "descending") rows.reverse();
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort();
    });
  });
}
for (const image of document.querySelectorAll("figure > img")) {
  const figure = image.parentElement;
  image.tabIndex = 0;
  image.title = "larger, and back";
  const grow = () => figure.classList.toggle("grown");
  image.addEventListener("click", grow);
  image.addEventListener("keydown", (event) => {
    if (event.key === "Enter") grow();
    if (event.key === "Escape") figure.classList.remove("grown");
  });
}
"""
