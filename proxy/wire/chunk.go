package wire

// stepChunk judges one byte of a chunked body that is not chunk-data (RFC 9112 section 7.1),
// and moves on. It returns whether the byte passes.
func (g *guard) stepChunk(c byte) bool {
	switch g.state {
	case stateSize:
		return g.stepSize(c)
	case statePad:
		if c == ';' {
			g.state = stateExt
		} else if c != ' ' && c != '\t' {
			return g.fail(failBody, "something other than an extension follows a chunk size")
		}
		return g.countExtension()
	case stateExt:
		if c == '\r' {
			g.state = stateSizeLF
			return true
		}
		if classes[c]&text == 0 {
			return g.fail(failBody, "a line feed without a carriage return, or a control character, in a chunk extension")
		}
		return g.countExtension()
	case stateSizeLF:
		if c != '\n' {
			return g.fail(failBody, "a carriage return without a line feed after a chunk size")
		}
		return g.sizeEnds()
	case stateDataCR:
		if c != '\r' {
			return g.fail(failBody, "a chunk is longer than its size")
		}
		g.state = stateDataLF
	case stateDataLF:
		if c != '\n' {
			return g.fail(failBody, "a carriage return without a line feed after a chunk")
		}
		g.state = stateSize
	default:
		return false
	}
	return true
}

func (g *guard) stepSize(c byte) bool {
	var value byte
	switch {
	case digit(c):
		value = c - '0'
	case 'a' <= c && c <= 'f':
		value = c - 'a' + 10
	case 'A' <= c && c <= 'F':
		value = c - 'A' + 10
	case g.digits == 0:
		return g.fail(failBody, "a chunk size does not begin with a digit")
	case c == '\r':
		g.state = stateSizeLF
		return true
	case c == ';':
		g.state = stateExt
		return g.countExtension()
	case c == ' ' || c == '\t':
		g.state = statePad
		return g.countExtension()
	default:
		return g.fail(failBody, "a chunk size holds a byte that it may not hold")
	}
	if g.digits++; g.digits > maxSizeDigits {
		return g.fail(failBody, "a chunk size is too long")
	}
	g.left = g.left<<4 | int64(value)
	return true
}

func (g *guard) countExtension() bool {
	if g.extension++; g.extension > maxExtension {
		return g.fail(failBody, "a chunk extension is too long")
	}
	return true
}

// sizeEnds follows the LF of a chunk's first line.
func (g *guard) sizeEnds() bool {
	// The line and the line end of the data against what is fair for so much data.
	g.excess = max(0, g.excess+int64(g.digits+g.extension+len("\r\n\r\n"))-16-2*g.left)
	if g.excess > maxExcess {
		return g.fail(failBody, "the chunks have more extensions than data")
	}
	g.digits, g.extension = 0, 0
	if g.left > 0 {
		g.state = stateData
		return true
	}
	g.trailer = true
	g.used, g.fields = 0, 0
	g.state = stateField
	return true
}

// dataEnds follows the last byte of a body of known length or of a chunk's data.
func (g *guard) dataEnds() {
	if g.state == stateData {
		g.state = stateDataCR
		return
	}
	g.messageEnds()
}
