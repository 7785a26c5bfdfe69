/* Enishi's own small client for Socket.IO 4, for pages that were written for 0.9: io.connect(url), socket.on,
   socket.emit, socket.send and socket.json.send. It speaks WebSocket only. A url that ends in ?room=NAME is heard in
   that room alone. */
(function (root) {
  'use strict';

  function connect(url) {
    var here = root.location ? root.location.href : undefined;
    var target = new URL(url || '/', here);
    target.protocol = /^(https|wss):$/.test(target.protocol) ? 'wss:' : 'ws:';
    target.pathname = '/socket.io/';
    var room = target.searchParams.get('room');
    target.search = '?EIO=4&transport=websocket' + (room ? '&room=' + encodeURIComponent(room) : '');
    target.hash = '';

    var handlers = {};
    var waiting = [];
    var ws = null;
    var closed = false;
    var wait = 500;

    function fire(name, args) {
      (handlers[name] || []).slice().forEach(function (handler) { handler.apply(socket, args); });
    }

    function open() {
      ws = new WebSocket(target.href);
      ws.onmessage = function (event) { hear(String(event.data)); };
      ws.onclose = function () {
        var was = socket.connected;
        socket.connected = false;
        if (was) fire('disconnect', []);
        if (closed) return;
        setTimeout(open, wait);
        wait = Math.min(wait * 2, 10000);
      };
    }

    function hear(packet) {
      if (packet === '2') return ws.send('3');
      if (packet[0] === '0') return ws.send('40');
      if (packet.slice(0, 2) === '40') {
        socket.id = JSON.parse(packet.slice(2)).sid;
        socket.connected = true;
        wait = 500;
        waiting.splice(0).forEach(function (message) { ws.send(message); });
        return fire('connect', []);
      }
      if (packet.slice(0, 2) === '42') {
        var list = JSON.parse(packet.slice(2));
        return fire(list[0], list.slice(1));
      }
      if (packet.slice(0, 2) === '44') fire('error', [JSON.parse(packet.slice(2))]);
    }

    var socket = {
      id: undefined,
      connected: false,
      on: function (name, handler) {
        (handlers[name] = handlers[name] || []).push(handler);
        return socket;
      },
      off: function (name, handler) {
        handlers[name] = (handlers[name] || []).filter(function (other) { return handler && other !== handler; });
        return socket;
      },
      emit: function () {
        var packet = '42' + JSON.stringify(Array.prototype.slice.call(arguments));
        if (socket.connected) ws.send(packet); else waiting.push(packet);
        return socket;
      },
      send: function (message) { return socket.emit('message', message); },
      disconnect: function () {
        closed = true;
        if (socket.connected) ws.send('41');
        if (ws) ws.close();
        return socket;
      }
    };
    socket.removeListener = socket.off;
    socket.close = socket.disconnect;
    socket.json = { send: socket.send };
    open();
    return socket;
  }

  root.io = connect;
  connect.connect = connect;
})(typeof globalThis !== 'undefined' ? globalThis : window);
