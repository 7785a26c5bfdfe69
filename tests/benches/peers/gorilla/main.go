// A relay on gorilla/websocket: a goroutine that reads and one that writes per client, and a map under a lock, as conic
// has them. conic's third generation between two, Socket.IO's broadcast among all. Prints where it listens.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

type message struct {
	Type string `json:"type"`
	Data struct {
		ClientID string `json:"client_id"`
		ToID     string `json:"to_id"`
	} `json:"data"`
}

type client struct{ out chan []byte }

var (
	upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	lock     sync.RWMutex
	clients  = map[string]*client{}
	all      = map[*client]bool{}
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}

func serve(response http.ResponseWriter, request *http.Request) {
	socket, err := upgrader.Upgrade(response, request, nil)
	if err != nil {
		return
	}
	own := &client{out: make(chan []byte, 256)}
	id := ""
	go func() {
		for text := range own.out {
			if socket.WriteMessage(websocket.TextMessage, text) != nil {
				socket.Close()
			}
		}
	}()
	for {
		_, text, err := socket.ReadMessage()
		if err != nil {
			break
		}
		if text[0] == '4' {
			hear(own, text)
			continue
		}
		var heard message
		if json.Unmarshal(text, &heard) != nil {
			continue
		}
		if heard.Type == "register_request" {
			id = heard.Data.ClientID
			lock.Lock()
			clients[id] = own
			lock.Unlock()
			answer := `{"id":"r","type":"register_response","timestamp":"2025-01-01T00:00:00Z","data":{"success":true,"client_id":%q}}`
			own.out <- []byte(fmt.Sprintf(answer, id))
			continue
		}
		lock.RLock()
		target := clients[heard.Data.ToID]
		if target != nil {
			target.out <- text
		}
		lock.RUnlock()
	}
	lock.Lock()
	delete(clients, id)
	delete(all, own)
	lock.Unlock()
	close(own.out)
	socket.Close()
}

// '40' enters, '42…' goes to all others.
func hear(own *client, text []byte) {
	if len(text) > 1 && text[1] == '0' {
		lock.Lock()
		all[own] = true
		lock.Unlock()
		own.out <- []byte(`40{"sid":"s"}`)
		return
	}
	lock.RLock()
	for other := range all {
		if other != own {
			other.out <- text
		}
	}
	lock.RUnlock()
}
