"""Numbered messages over one data channel between two peers of aiortc in this process. Prints one JSON object."""

import argparse
import asyncio
import json
import os
import time

from aiortc import RTCPeerConnection, RTCSessionDescription


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=16384)
    parser.add_argument("--buffer", type=int, default=1 << 20, help="bytes that the sender lets wait")
    parser.add_argument("--warm-up", type=float, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--through", default=",", help="ports of a link between the peers: the offerer's, the answerer's")
    options = parser.parse_args()
    ports = options.through.split(",")

    offerer, answerer = RTCPeerConnection(), RTCPeerConnection()
    channel = offerer.createDataChannel("bench")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    received = disordered = 0

    @answerer.on("datachannel")
    def watch(channel):
        @channel.on("message")
        def receive(data):
            nonlocal received, disordered
            if int.from_bytes(data[:8], "big") != received or len(data) != options.bytes:
                disordered += 1
            received += 1

    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(through_link(offerer.localDescription, ports[1]))
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(through_link(answerer.localDescription, ports[0]))
    await asyncio.wait_for(opened.wait(), 30)

    sent, rest = 0, bytes(options.bytes - 8)

    def pour():
        nonlocal sent
        while channel.bufferedAmount + options.bytes <= options.buffer:
            channel.send(sent.to_bytes(8, "big") + rest)
            sent += 1

    channel.bufferedAmountLowThreshold = options.buffer // 2
    channel.on("bufferedamountlow", pour)
    pour()

    await asyncio.sleep(options.warm_up)
    # CPU time of this process, user and system.
    start, cpu, already = time.monotonic(), time.process_time(), received
    await asyncio.sleep(options.seconds)
    took, spent, messages = time.monotonic() - start, time.process_time() - cpu, received - already
    figures = {
        "message_bytes": options.bytes,
        "messages": messages,
        "disordered": disordered,
        "seconds": took,
        "megabytes": messages * options.bytes / 1e6,
        "cpu_seconds": spent,
    }
    print(json.dumps(figures), flush=True)
    # Nothing to save, and a farewell takes seconds.
    os._exit(0)


def through_link(description, port):
    """With one candidate instead of its own, if there is a link."""
    if not port:
        return description
    lines = [line for line in description.sdp.splitlines() if not line.startswith("a=candidate:")]
    lines.append(f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host")
    return RTCSessionDescription("\r\n".join(lines) + "\r\n", description.type)


asyncio.run(main())
