// Where the state is kept between visits: in the address of a page, or in the value of a widget.

/** The part of the page's address after `#`: `read()`, `write(text)` and `listen(function)`. */
export function addressPlace() {
  const read = () => location.hash.replace(/^#/, "");
  return {
    read,
    write: (text) => read() === text || history.replaceState(null, "", `#${text}`),
    listen: (changed) => addEventListener("hashchange", changed),
    whole: true, // the page is ours: its keys are too
  };
}

/** The `state` of a widget's model, which Python sees. */
export function widgetPlace(model) {
  return {
    read: () => model.get("state"),
    write(text) {
      if (model.get("state") === text) return;
      model.set("state", text);
      model.save_changes();
    },
    listen: (changed) => model.on("change:state", changed),
    whole: false,
  };
}
