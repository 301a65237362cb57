// What the page runs.

import { mount } from "./main.js";

mount(document.getElementById("edgewise"), document.getElementById("data").textContent);
