"""A conic-C peer on aiortc, for the interop tests; README.md has the lines it prints and reads."""

import argparse
import asyncio
import datetime
import itertools
import json
import os
import sys

try:
    import websockets
    from aiortc import RTCPeerConnection, RTCSessionDescription
    from aiortc.sdp import candidate_from_sdp
except ImportError as missing:
    sys.exit(f"{missing}: run tests/setup first")


def say(line):
    print(line, flush=True)


class Peer:
    def __init__(self, options, socket):
        self.options = options
        self.socket = socket
        self.target = options.target
        self.connection = RTCPeerConnection()
        self.connection.on("connectionstatechange", lambda: say(f"state {self.connection.connectionState}"))
        self.connection.on("datachannel", self.watch)
        self.channel = None
        self.early = []
        self.numbers = itertools.count(1)

    async def run(self):
        await self.send("register_request", {"client_id": self.options.id})
        texts = asyncio.create_task(self.read_texts())
        try:
            async for frame in self.socket:
                message = json.loads(frame)
                await self.receive(message["type"], message["data"])
        except websockets.ConnectionClosed:
            pass
        say("signaling lost")
        await texts

    async def read_texts(self):
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            self.channel.send(line.decode().rstrip("\n"))
        # Nothing to save, and aiortc's own shutdown waits for remote ends that may be gone.
        os._exit(0)

    async def receive(self, kind, data):
        match kind:
            case "register_response":
                if not data["success"] or data["client_id"] != self.options.id:
                    sys.exit(f"the server answered {data}")
                say(f"registered {data['client_id']}")
                if self.options.role == "offer":
                    self.watch(self.connection.createDataChannel(self.options.channel))
                    await self.describe(await self.connection.createOffer())
            case "sdp":
                self.target = data["from_id"]
                await self.connection.setRemoteDescription(RTCSessionDescription(**data["session_description"]))
                for candidate in self.early:
                    await self.add(candidate)
                self.early.clear()
                if data["session_description"]["type"] == "offer":
                    await self.describe(await self.connection.createAnswer())
            case "candidate" if self.connection.remoteDescription is None:
                self.early.append(data["candidate"])
            case "candidate":
                await self.add(data["candidate"])
            case other:
                say(f"ignored {other}")

    async def describe(self, description):
        """aiortc does not trickle: its descriptions carry all candidates."""
        await self.connection.setLocalDescription(description)
        local = self.connection.localDescription
        for line in local.sdp.splitlines():
            if line.startswith("a=candidate:"):
                say(line.removeprefix("a=").replace("candidate:", "candidate candidate:", 1))
        fields = {"type": local.type, "sdp": local.sdp}
        await self.send("sdp", {"from_id": self.options.id, "to_id": self.target, "session_description": fields})

    async def add(self, init):
        text = init["candidate"].removeprefix("candidate:")
        if not text:
            return await self.connection.addIceCandidate(None)
        candidate = candidate_from_sdp(text)
        candidate.sdpMid = init.get("sdpMid")
        candidate.sdpMLineIndex = init.get("sdpMLineIndex")
        await self.connection.addIceCandidate(candidate)

    def watch(self, channel):
        def opened():
            self.channel = channel
            say(f"open {channel.label}")

        channel.on("open", opened)
        channel.on("message", lambda text: say(f"got {text}"))
        channel.on("close", lambda: say(f"closed {channel.label}"))
        if channel.readyState == "open":
            opened()

    async def send(self, kind, data):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": f"{self.options.id}-{number}", "type": kind, "timestamp": now, "data": data}))


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", default="ws://127.0.0.1:3000/ws")
    parser.add_argument("--role", choices=["offer", "answer"], default="answer")
    parser.add_argument("--id", default="aiortc")
    parser.add_argument("--target")
    parser.add_argument("--channel", default="chat")
    options = parser.parse_args()
    async with websockets.connect(options.signal) as socket:
        await Peer(options, socket).run()


asyncio.run(main())
