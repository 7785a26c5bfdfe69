// Numbered messages over one data channel between two peers of pion in this process. Prints one JSON object.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/webrtc"
)

func main() {
	bytes := flag.Int("bytes", 16384, "length of a message")
	buffer := flag.Uint64("buffer", 1<<20, "bytes that the sender lets wait")
	warmUp := flag.Float64("warm-up", 1, "seconds before the window")
	seconds := flag.Float64("seconds", 2, "length of the window")
	through := flag.String("through", "", "ports on 127.0.0.1 of a link between the peers: the offerer's, the answerer's")
	flag.Parse()

	settings := webrtc.SettingEngine{}
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings))
	offerer, err := api.NewPeerConnection(webrtc.Configuration{})
	check(err)
	answerer, err := api.NewPeerConnection(webrtc.Configuration{})
	check(err)

	channel, err := offerer.CreateDataChannel("bench", nil)
	check(err)
	opened := make(chan bool, 1)
	channel.OnOpen(func() {
		opened <- true
		pour(channel, *bytes, *buffer)
	})
	var received, disordered uint64
	answerer.OnDataChannel(func(channel *webrtc.DataChannel) {
		channel.OnMessage(func(message webrtc.DataChannelMessage) {
			if binary.BigEndian.Uint64(message.Data) != received || len(message.Data) != *bytes {
				atomic.AddUint64(&disordered, 1)
			}
			atomic.AddUint64(&received, 1)
		})
	})
	connect(offerer, answerer, strings.Split(*through, ","))

	select {
	case <-opened:
	case <-time.After(30 * time.Second):
		check(fmt.Errorf("the peers have not connected within 30 s"))
	}
	time.Sleep(time.Duration(*warmUp * float64(time.Second)))
	start, cpu, already := time.Now(), used(), atomic.LoadUint64(&received)
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	took, spent, messages := time.Since(start).Seconds(), used()-cpu, atomic.LoadUint64(&received)-already

	sum := float64(messages) * float64(*bytes)
	check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"message_bytes": *bytes, "messages": messages, "disordered": atomic.LoadUint64(&disordered), "seconds": took,
		"megabytes": sum / 1e6, "cpu_seconds": spent,
	}))
}

// pour sends as the flow-control example of pion does.
func pour(channel *webrtc.DataChannel, bytes int, buffer uint64) {
	more := make(chan bool, 1)
	channel.SetBufferedAmountLowThreshold(buffer / 2)
	channel.OnBufferedAmountLow(func() {
		select {
		case more <- true:
		default:
		}
	})
	message := make([]byte, bytes)
	for number := uint64(0); ; number++ {
		binary.BigEndian.PutUint64(message, number)
		check(channel.Send(message))
		if channel.BufferedAmount()+uint64(bytes) > buffer {
			<-more
		}
	}
}

func connect(offerer, answerer *webrtc.PeerConnection, through []string) {
	offer, err := offerer.CreateOffer(nil)
	check(err)
	// What the answerer sends to: its own port of the link.
	check(answerer.SetRemoteDescription(gathered(offerer, offer, through[len(through)-1])))
	answer, err := answerer.CreateAnswer(nil)
	check(err)
	check(offerer.SetRemoteDescription(gathered(answerer, answer, through[0])))
}

// gathered is the description with all candidates; with a port, with one: the link.
func gathered(peer *webrtc.PeerConnection, description webrtc.SessionDescription, port string) webrtc.SessionDescription {
	done := webrtc.GatheringCompletePromise(peer)
	check(peer.SetLocalDescription(description))
	<-done
	description = *peer.LocalDescription()
	if port != "" {
		var lines []string
		for _, line := range strings.SplitAfter(description.SDP, "\r\n") {
			if !strings.HasPrefix(line, "a=candidate:") {
				lines = append(lines, line)
			}
		}
		link := fmt.Sprintf("a=candidate:1 1 udp 2130706431 127.0.0.1 %s typ host\r\n", port)
		description.SDP = strings.Join(lines, "") + link
	}
	return description
}

// used is the CPU time of this process, user and system, in seconds.
func used() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pion:", err)
		os.Exit(1)
	}
}
