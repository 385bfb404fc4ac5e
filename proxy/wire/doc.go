// Package wire guards HTTP/1.x connections at the level of bytes.
//
// net/http's server is lenient where RFC 9112 allows it to be: it takes bare line feeds, folded
// fields, Content-Length beside Transfer-Encoding, and an absolute target that
// contradicts Host. A program behind a proxy may read the same bytes otherwise, and
// then the two disagree on where a request ends or for whom it is. So what a
// connection carries is judged here before net/http sees it, by the letter of RFC
// 9112, and what does not pass never reaches a handler.
//
// A guarded connection ([Conn], or all of a [Listener]'s) follows each request's framing
// as the server reads: heads byte by byte, bodies by counting. It hands out exactly the
// bytes that came, keeps no buffer, and reads only when the server does. At the
// first byte that makes a request unacceptable it stops:
//
//   - In a head it withholds that byte and feeds net/http a line instead that no head may
//     have, so that net/http itself answers 400 and closes. Writing the answer
//     here could cut into the response to an earlier, pipelined request; net/http reads the
//     next head only when that response is out. A head over the limits is
//     filled up to net/http's own limit instead, which it answers with 431.
//   - In a chunked body it does the same, and reading the body fails in the handler, which finds
//     out by [BodyFault] that 400 is the answer. net/http closes the connection after that.
//
// The server's hooks make this complete: set [ConnContext] for BodyFault, and [ConnState] so
// that a hijacked connection, which carries another protocol, is let go.
package wire
