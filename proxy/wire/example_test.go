package wire_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"

	"zchatproxy/proxy/wire"
)

func Example() {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	const headerBytes = 32 << 10
	server := &http.Server{
		Handler:        http.NotFoundHandler(),
		MaxHeaderBytes: headerBytes,
		ConnState:      wire.ConnState,
		ConnContext:    wire.ConnContext,
	}
	defer server.Close()
	go server.Serve(wire.Listener(plain, wire.Config{
		MaxHeaderBytes: headerBytes,
		OnRefuse:       func(_ net.Addr, why error) { fmt.Println("refused:", why) },
	}))

	client, err := net.Dial("tcp", plain.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	io.WriteString(client, "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	status, _ := bufio.NewReader(client).ReadString('\n')
	fmt.Print(status)
	// Output:
	// refused: both Content-Length and Transfer-Encoding
	// HTTP/1.1 400 Bad Request
}
