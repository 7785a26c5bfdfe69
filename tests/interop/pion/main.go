// A conic-C peer on pion, for the interop tests; ../README.md has the lines it prints and reads.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/webrtc"
)

// envelope is what conic generation C puts around everything.
type envelope struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

type registration struct {
	ClientID string `json:"client_id"`
	Success  bool   `json:"success,omitempty"`
}

type directed struct {
	From        string                     `json:"from_id"`
	To          string                     `json:"to_id"`
	Description *webrtc.SessionDescription `json:"session_description,omitempty"`
	Candidate   *webrtc.ICECandidateInit   `json:"candidate,omitempty"`
}

// peer is owned by the goroutine of main; pion's callbacks hand it functions to run.
type peer struct {
	socket     *websocket.Conn
	connection *webrtc.PeerConnection
	channel    *webrtc.DataChannel
	id, target string
	sent       int
	// Candidates may come before the description they belong to.
	early []webrtc.ICECandidateInit
	// An offer that waits until all candidates are sent, as conic's own client does it.
	held *webrtc.SessionDescription
}

func main() {
	signal := flag.String("signal", "ws://127.0.0.1:3000/ws", "signaling server")
	role := flag.String("role", "answer", "offer or answer")
	id := flag.String("id", "pion", "own id")
	target := flag.String("target", "", "whom to offer to")
	label := flag.String("channel", "chat", "the channel that an offer opens")
	hold := flag.Bool("candidates-first", false, "send the offer after all candidates, as conic's own client does")
	flag.Parse()

	socket, _, err := websocket.DefaultDialer.Dial(*signal, nil)
	check("connect to "+*signal, err)
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check("make a peer connection", err)
	p := &peer{socket: socket, connection: connection, id: *id, target: *target}

	work := make(chan func(), 64)
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		work <- func() { say("state %s", state) }
	})
	connection.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate == nil {
			work <- p.release
		} else {
			work <- func() { p.trickle(candidate.ToJSON()) }
		}
	})
	connection.OnDataChannel(func(channel *webrtc.DataChannel) { p.watch(channel, work) })

	p.send("register_request", registration{ClientID: *id})
	go readSignals(p, work, func() {
		if *role == "offer" {
			p.offer(*label, *hold, work)
		}
	})
	go readTexts(p, work)
	for run := range work {
		run()
	}
}

func readSignals(p *peer, work chan<- func(), registered func()) {
	for {
		_, text, err := p.socket.ReadMessage()
		if err != nil {
			work <- func() { say("signaling lost: %v", err) }
			return
		}
		var message envelope
		check("read "+string(text), json.Unmarshal(text, &message))
		work <- func() { p.receive(message, registered) }
	}
}

func readTexts(p *peer, work chan<- func()) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		text := lines.Text()
		work <- func() { check("send a text", p.channel.SendText(text)) }
	}
	os.Exit(0)
}

func (p *peer) receive(message envelope, registered func()) {
	switch message.Type {
	case "register_response":
		var answer registration
		check("read a registration", json.Unmarshal(message.Data, &answer))
		if !answer.Success || answer.ClientID != p.id {
			check("register", fmt.Errorf("the server answered %s", message.Data))
		}
		say("registered %s", answer.ClientID)
		registered()
	case "sdp":
		var signal directed
		check("read a description", json.Unmarshal(message.Data, &signal))
		p.describe(signal)
	case "candidate":
		var signal directed
		check("read a candidate", json.Unmarshal(message.Data, &signal))
		if p.connection.RemoteDescription() == nil {
			p.early = append(p.early, *signal.Candidate)
		} else {
			check("add a candidate", p.connection.AddICECandidate(*signal.Candidate))
		}
	default:
		say("ignored %s", message.Type)
	}
}

func (p *peer) offer(label string, hold bool, work chan<- func()) {
	channel, err := p.connection.CreateDataChannel(label, nil)
	check("make a channel", err)
	p.watch(channel, work)
	offer, err := p.connection.CreateOffer(nil)
	check("make an offer", err)
	check("apply an offer", p.connection.SetLocalDescription(offer))
	p.held = &offer
	if !hold {
		p.release()
	}
}

func (p *peer) release() {
	if p.held != nil {
		p.send("sdp", directed{From: p.id, To: p.target, Description: p.held})
		p.held = nil
	}
}

func (p *peer) describe(signal directed) {
	p.target = signal.From
	check("apply a remote description", p.connection.SetRemoteDescription(*signal.Description))
	for _, candidate := range p.early {
		check("add an early candidate", p.connection.AddICECandidate(candidate))
	}
	p.early = nil
	if signal.Description.Type == webrtc.SDPTypeOffer {
		answer, err := p.connection.CreateAnswer(nil)
		check("make an answer", err)
		check("apply an answer", p.connection.SetLocalDescription(answer))
		p.send("sdp", directed{From: p.id, To: p.target, Description: &answer})
	}
}

func (p *peer) trickle(candidate webrtc.ICECandidateInit) {
	say("candidate %s", candidate.Candidate)
	p.send("candidate", directed{From: p.id, To: p.target, Candidate: &candidate})
}

func (p *peer) watch(channel *webrtc.DataChannel, work chan<- func()) {
	channel.OnOpen(func() {
		work <- func() { p.channel = channel; say("open %s", channel.Label()) }
	})
	channel.OnMessage(func(message webrtc.DataChannelMessage) {
		work <- func() { say("got %s", message.Data) }
	})
	channel.OnClose(func() {
		work <- func() { say("closed %s", channel.Label()) }
	})
}

func (p *peer) send(kind string, data interface{}) {
	raw, err := json.Marshal(data)
	check("encode", err)
	p.sent++
	message := envelope{ID: fmt.Sprintf("%s-%d", p.id, p.sent), Type: kind, Timestamp: time.Now(), Data: raw}
	check("send "+kind, p.socket.WriteJSON(message))
}

func say(format string, parts ...interface{}) {
	fmt.Printf(format+"\n", parts...)
}

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot %s: %v\n", what, err)
		os.Exit(1)
	}
}
