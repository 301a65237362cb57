// What the page runs. The app stays at hand in the console, as `edgewise`.

import { mount } from "./main.js";

window.edgewise = mount(document.getElementById("edgewise"), document.getElementById("data").textContent);
