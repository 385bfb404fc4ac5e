package inject

// An encoding is all that the search has to know of a character encoding: how to see the ASCII in it.
type encoding uint8

const (
	// encBytes: every byte below 0x80 outside a multi-byte character is ASCII, and no byte inside one can be mistaken for a character
	// that means something in markup. So it is with UTF-8, the single-byte encodings, and those of China, Japan, Korea and Taiwan: their
	// trail bytes below 0x80 are digits, letters and some of @[\]^_`{|}~, never one of <>"'&=/!- or white space.
	encBytes encoding = iota
	encUTF16LE
	encUTF16BE
	// encISO2022JP switches by escape sequences between ASCII and sets in which the same bytes mean other characters.
	encISO2022JP
)

func (e encoding) wide() bool { return e == encUTF16LE || e == encUTF16BE }

// other stands in a view for any character that is not ASCII.
const other = 0xff

// A view is the beginning of a document with one byte for each character, as far as markup is concerned: ASCII as it is, everything
// else as a byte of 0x80 or more.
type view struct {
	head *prefix // nil: text is all there is
	enc  encoding
	text []byte
	skip int // length of the byte order mark, which is no character
	jp   iso2022jp
}

// newView begins behind the byte order mark. With encBytes the text is the body itself, mark included: its tokenizer starts at skip.
func newView(head *prefix, enc encoding) *view {
	v := &view{head: head, enc: enc, skip: bomLen(head.buf, enc)}
	v.grow()
	return v
}

// begin is the index of the first character.
func (v *view) begin() int {
	if v.enc == encBytes {
		return v.skip
	}
	return 0
}

// more makes the text longer by at least one character, or returns false.
func (v *view) more() bool {
	if v.head == nil {
		return false
	}
	for before := len(v.text); len(v.text) == before; v.grow() {
		if !v.head.more() {
			return false
		}
	}
	return true
}

// grow takes over what the prefix has read.
func (v *view) grow() {
	switch {
	case v.enc == encBytes:
		v.text = v.head.buf
	case v.enc == encISO2022JP:
		v.text = v.jp.decode(v.text, v.head.buf)
	default:
		v.growWide()
	}
}

func (v *view) growWide() {
	low, high := 0, 1
	if v.enc == encUTF16BE {
		low, high = 1, 0
	}
	b := v.head.buf
	for i := v.skip + 2*len(v.text); i+1 < len(b); i += 2 {
		c := b[i+low]
		if b[i+high] != 0 || c >= 0x80 {
			c = other
		}
		v.text = append(v.text, c)
	}
}

// offset turns an index of the text into one of the body. It reports false where ASCII written there would not be read as ASCII.
func (v *view) offset(i int) (int64, bool) {
	switch v.enc {
	case encBytes:
		return int64(i), true
	case encISO2022JP:
		return v.jp.offset(i)
	}
	return int64(v.skip + 2*i), true
}

// complete reports whether the text ends because the document does.
func (v *view) complete() bool { return v.head == nil || v.head.complete() }

// bomLen is the length of the byte order mark of enc, if the body begins with it.
func bomLen(b []byte, enc encoding) int {
	switch {
	case enc == encBytes && len(b) >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf:
		return 3
	case enc == encUTF16LE && len(b) >= 2 && b[0] == 0xff && b[1] == 0xfe,
		enc == encUTF16BE && len(b) >= 2 && b[0] == 0xfe && b[1] == 0xff:
		return 2
	}
	return 0
}
