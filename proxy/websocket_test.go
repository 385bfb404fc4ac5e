package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Opcodes of WebSocket frames (RFC 6455 section 5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// frame is one WebSocket frame, unmasked.
type frame struct {
	final   bool
	opcode  byte
	payload []byte
}

// appendFrame writes a frame, masked as a client must.
func appendFrame(b []byte, f frame, masked bool) []byte {
	first := f.opcode
	if f.final {
		first |= 0x80
	}
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	b = append(b, first)
	switch n := len(f.payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if !masked {
		return append(b, f.payload...)
	}
	key := make([]byte, 4)
	rand.Read(key)
	b = append(b, key...)
	for i, c := range f.payload {
		b = append(b, c^key[i%4])
	}
	return b
}

func readFrame(r io.Reader) (frame, error) {
	var head [14]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, opcode: head[0] & 0x0f}
	n := uint64(head[1] & 0x7f)
	extra := map[uint64]int{126: 2, 127: 8}[n]
	if _, err := io.ReadFull(r, head[2:2+extra]); err != nil {
		return f, err
	}
	switch extra {
	case 2:
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 8:
		n = binary.BigEndian.Uint64(head[2:])
	}
	var key []byte
	if head[1]&0x80 != 0 {
		key = head[10:14]
		if _, err := io.ReadFull(r, key); err != nil {
			return f, err
		}
	}
	f.payload = make([]byte, n)
	_, err := io.ReadFull(r, f.payload)
	for i := range f.payload {
		if key != nil {
			f.payload[i] ^= key[i%4]
		}
	}
	return f, err
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// webSocketSite accepts WebSockets, greets in the same packet as the handshake, echoes messages, answers pings, and
// returns the close code it was sent. A text asks for more: "die" cuts the connection, "close" closes it with 4001.
// How each connection ended is sent to ended.
func webSocketSite(t *testing.T, ended chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-Websocket-Protocol") != "chat.v1" || r.Header.Get("Origin") == "" {
			http.Error(w, "no WebSocket handshake", http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		var hello bytes.Buffer
		fmt.Fprintf(&hello, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: chat.v1\r\nSec-WebSocket-Accept: %s\r\nSet-Cookie: ws=1\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
		conn.Write(appendFrame(hello.Bytes(), frame{true, opText, []byte("hello")}, false))
		for {
			f, err := readFrame(rw)
			if err != nil {
				if errors.Is(err, io.EOF) {
					conn.Write(appendFrame(nil, frame{true, opText, []byte("after your end")}, false))
				}
				ended <- err
				return
			}
			switch text := string(f.payload); {
			case f.opcode == opPing:
				f.opcode = opPong
			case f.opcode == opClose:
				conn.Write(appendFrame(nil, f, false))
				ended <- nil
				return
			case text == "die":
				ended <- nil
				return
			case text == "close":
				f = frame{true, opClose, append([]byte{0x0f, 0xa1}, "see you"...)}
			}
			conn.Write(appendFrame(nil, f, false))
		}
	}
}

// webSocket is a client's end.
type webSocket struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// openWebSocket shakes hands; what is early travels in the same packet as the request.
func openWebSocket(t *testing.T, g *rig, early ...frame) *webSocket {
	t.Helper()
	ws := &webSocket{t: t, conn: g.dial()}
	ws.r = bufio.NewReader(ws.conn)
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	hello := []byte("GET /socket?room=1 HTTP/1.1\r\nHost: shop.example\r\nOrigin: http://shop.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Protocol: chat.v1\r\nX-Forwarded-User: u-1\r\nX-Forwarded-Email: ann@example.com\r\n\r\n")
	for _, f := range early {
		hello = appendFrame(hello, f, true)
	}
	ws.conn.Write(hello)
	res, err := http.ReadResponse(ws.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) || res.Header.Get("Sec-WebSocket-Protocol") != "chat.v1" || res.Header.Get("Set-Cookie") != "ws=1" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	ws.expect(frame{true, opText, []byte("hello")})
	for _, f := range early {
		ws.expect(f)
	}
	return ws
}

func (ws *webSocket) send(f frame) { ws.conn.Write(appendFrame(nil, f, true)) }

func (ws *webSocket) expect(want frame) {
	ws.t.Helper()
	got, err := readFrame(ws.r)
	if err != nil || got.final != want.final || got.opcode != want.opcode || !bytes.Equal(got.payload, want.payload) {
		ws.t.Fatalf("got opcode %d, final %t, %d bytes, %v; want opcode %d, final %t, %d bytes", got.opcode, got.final, len(got.payload), err, want.opcode, want.final, len(want.payload))
	}
}

func (ws *webSocket) expectEnd() {
	ws.t.Helper()
	if b, err := ws.r.ReadByte(); err == nil {
		ws.t.Fatalf("a byte %#x where the connection should have ended", b)
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		ws.t.Fatal("the connection stays open")
	}
}

func TestWebSocket(t *testing.T) {
	big := make([]byte, 300_000)
	rand.Read(big)
	for _, secure := range []bool{false, true} {
		ended := make(chan error, 8)
		var g *rig
		if secure {
			g, _ = newServedRig(t, protocols{1, 1}, webSocketSite(t, ended))
		} else {
			g = newGuardedRig(t, webSocketSite(t, ended))
		}
		run := func(name string, test func(t *testing.T)) {
			t.Run(fmt.Sprintf("%s,tls=%t", name, secure), test)
		}
		run("messages", func(t *testing.T) {
			ws := openWebSocket(t, g, frame{true, opText, []byte("early")})
			for _, f := range []frame{
				{true, opText, []byte("Grüße")}, {true, opBinary, []byte{0, 255, '\n', '\r'}}, {true, opBinary, big}, {true, opText, nil},
				{false, opText, []byte("in two ")}, {true, opPing, []byte("?")}, {true, opContinuation, []byte("pieces")},
			} {
				ws.send(f)
				if f.opcode == opPing {
					f.opcode = opPong
				}
				ws.expect(f)
			}
			goodbye := frame{true, opClose, append([]byte{0x03, 0xe8}, "bye"...)} // 1000
			ws.send(goodbye)
			ws.expect(goodbye)
			ws.expectEnd()
			if err := <-ended; err != nil {
				t.Errorf("the upstream saw %v", err)
			}
		})
		run("upstream closes", func(t *testing.T) {
			ws := openWebSocket(t, g)
			ws.send(frame{true, opText, []byte("close")})
			closing := frame{true, opClose, append([]byte{0x0f, 0xa1}, "see you"...)} // 4001
			ws.expect(closing)
			ws.send(closing)
			ws.expect(closing)
			ws.expectEnd()
			<-ended
		})
		run("upstream dies", func(t *testing.T) {
			ws := openWebSocket(t, g)
			ws.send(frame{true, opText, []byte("die")})
			ws.expectEnd()
			<-ended
		})
		run("visitor is gone", func(t *testing.T) {
			ws := openWebSocket(t, g)
			ws.conn.Close()
			if err := <-ended; err == nil {
				t.Error("the upstream was not told")
			}
		})
		run("visitor half-closes", func(t *testing.T) {
			ws := openWebSocket(t, g)
			ws.send(frame{true, opText, []byte("last words")})
			ws.conn.(interface{ CloseWrite() error }).CloseWrite()
			ws.expect(frame{true, opText, []byte("last words")})
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("the upstream saw %v, want the end of the stream", err)
			}
			ws.expect(frame{true, opText, []byte("after your end")})
			ws.expectEnd()
		})
	}
}

// A refused handshake is an ordinary response, and the connection goes on with HTTP.
func TestWebSocketRefused(t *testing.T) {
	g := newGuardedRig(t, webSocketSite(t, nil))
	conn := g.dial()
	r := bufio.NewReader(conn)
	for range 3 {
		io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusUpgradeRequired || string(body) != "no WebSocket handshake\n" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
}

// An upstream that switches protocols unasked, or to another than was asked for, is broken.
func TestUnsolicitedSwitch(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
	}))
	noLeak(t)
	g := newRigAt(t, up)
	for _, ask := range []string{"", "Connection: Upgrade\r\nUpgrade: websocket\r\n"} {
		if res := g.raw("", "GET / HTTP/1.1\r\nHost: x\r\n"+ask+"\r\n"); res.StatusCode != 502 || strings.Contains(res.body, "smuggled") {
			t.Errorf("%q: %d %q", ask, res.StatusCode, res.body)
		}
	}
}
