/* Browsers start no workers from a folder (file://), and the site's search is one: there it runs in a hidden frame.
   The file's name keeps mkdocs-material from taking a script of another server for this. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const source = new URL(url, location.href).href;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc =
        `<script>postMessage = data => parent.postMessage(data, "*")</script><script src="${source}"></script>`;
      this.loaded = new Promise(resolve => this.frame.addEventListener("load", resolve));
      window.addEventListener("message", event => {
        if (event.source === this.frame.contentWindow) {
          this.dispatchEvent(new MessageEvent("message", { data: event.data }));
        }
      });
      document.documentElement.append(this.frame);
    }

    postMessage(data) {
      // This window's own function, since the frame's sends to here.
      this.loaded.then(() => window.postMessage.call(this.frame.contentWindow, data, "*"));
    }
  };
}
