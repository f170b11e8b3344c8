const said = document.getElementById("socket");
const socket = new WebSocket(`wss://${location.host}${location.pathname.startsWith("/public/") ? "/public" : ""}/ws`);
socket.onopen = () => socket.send("echo");
socket.onmessage = (event) => { said.textContent = `Open through the gateway: it said ${event.data}.`; };
socket.onclose = () => { said.textContent = "Closed."; };
