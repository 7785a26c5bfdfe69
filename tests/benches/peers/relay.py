"""A relay on Python's websockets: conic's third generation between two, Socket.IO's broadcast among all."""

import asyncio
import json

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

clients = {}
everybody = set()


async def handle(socket):
    own = None
    try:
        async for text in socket:
            if text.startswith("4"):
                # '40' enters, '42…' goes to all others.
                if text.startswith("40"):
                    everybody.add(socket)
                    await socket.send('40{"sid":"s"}')
                else:
                    broadcast(everybody - {socket}, text)
                continue
            message = json.loads(text)
            if message["type"] == "register_request":
                own = message["data"]["client_id"]
                clients[own] = socket
                answer = {"success": True, "client_id": own}
                response = {"id": "r", "type": "register_response", "timestamp": message["timestamp"], "data": answer}
                await socket.send(json.dumps(response))
                continue
            target = clients.get(message["data"]["to_id"])
            if target is not None:
                await target.send(text)
    except ConnectionClosed:
        pass
    finally:
        everybody.discard(socket)
        clients.pop(own, None)


async def main():
    # No limit on what waits: a slow reader is not what is measured.
    async with serve(handle, "127.0.0.1", 0, compression=None, backlog=4096, write_limit=2**24) as server:
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
