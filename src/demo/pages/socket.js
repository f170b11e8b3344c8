const said = document.getElementById("socket");
const socket = new WebSocket(`wss://${location.host}/ws`);
socket.onopen = () => socket.send("echo");
socket.onmessage = (event) => { said.textContent = `Open through the gateway: it said ${event.data}.`; };
socket.onclose = () => { said.textContent = "Closed."; };
