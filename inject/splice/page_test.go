package splice

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// page makes a page of about n bytes that compresses like a real one: markup
// that repeats, with words, numbers and names that repeat less.
func page(r *rand.Rand, n int) []byte {
	g := &generator{r: r}
	for range 2500 {
		g.words = append(g.words, g.newWord())
	}
	for range 600 {
		g.phrases = append(g.phrases, fmt.Sprintf("%s %s %s", g.word(), g.word(), g.word()))
	}
	b := fmt.Appendf(nil, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s %s</title>\n", g.word(), g.word())
	for range min(8, n/200) {
		b = fmt.Appendf(b, "<link rel=\"stylesheet\" href=\"/assets/%s-%08x.css\" media=\"all\">\n", g.word(), r.Uint32())
	}
	b = g.inlineCode(b)
	b = append(b, "</head>\n<body class=\"home\">\n"...)
	for len(b) < n {
		b = g.section(b)
	}
	return append(b[:max(0, min(len(b), n-15))], "</body>\n</html>\n"[:min(n, 15)]...)
}

type generator struct {
	r       *rand.Rand
	words   []string
	phrases []string
}

func (g *generator) newWord() string {
	const vowels, consonants = "aeiou", "bcdfghjklmnpqrstvwxz"
	var w []byte
	for range 1 + g.r.IntN(3) {
		w = append(w, consonants[g.r.IntN(len(consonants))], vowels[g.r.IntN(len(vowels))])
		if g.r.IntN(2) == 0 {
			w = append(w, consonants[g.r.IntN(len(consonants))])
		}
	}
	if g.r.IntN(8) == 0 { // a name
		w[0] -= 'a' - 'A'
	}
	return string(w)
}

// word gives a few of the words often and most of them seldom.
func (g *generator) word() string {
	f := g.r.Float64()
	return g.words[int(f*f*f*float64(len(g.words)))]
}

func (g *generator) phrase() string { return g.phrases[g.r.IntN(len(g.phrases))] }

// inlineCode appends what most heads have between the links and their end.
func (g *generator) inlineCode(b []byte) []byte {
	b = fmt.Appendf(b, "<style>:root{--%s:#%06x;--gap:%dpx}body{margin:0;font:16px/1.5 system-ui,sans-serif}@media (min-width:%dpx){.card{width:calc(50%% - %dpx)}}</style>\n",
		g.word(), g.r.Uint32N(1<<24), g.r.IntN(30), 600+g.r.IntN(400), g.r.IntN(40))
	return fmt.Appendf(b, "<script>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments)}gtag('js',new Date());gtag('config','G-%08X',{'%s':%d,\"%s\":[%d,!0]});"+
		"(function(w,d,s,l){if(w[l]&&w[l].q){return}var j=d.createElement(s),f=d.getElementsByTagName(s)[0];j.async=true;j.src='https://cdn.example.com/'+l+'.js?id=%d';f.parentNode.insertBefore(j,f)})(window,document,'script','%s');</script>\n"+
		"<script type=\"application/ld+json\">{\"@context\":\"https://schema.org\",\"@type\":\"WebSite\",\"name\":\"%s\",\"url\":\"https://%s.example/\"}</script>\n",
		g.r.Uint32(), g.word(), g.r.IntN(100), g.word(), g.r.IntN(10000), g.r.IntN(10000), g.word(), g.phrase(), g.word())
}

// section appends a part of the body.
func (g *generator) section(b []byte) []byte {
	r := g.r
	switch r.IntN(5) {
	case 0, 1:
		for range 2 + r.IntN(6) {
			b = fmt.Appendf(b, "<div class=\"card card--%s\" data-id=\"%d\">\n  <a class=\"card__link\" href=\"/%s/%s-%d\">\n    <img class=\"card__image\" src=\"/img/%06x.jpg\" alt=\"%s\" loading=\"lazy\">\n    <span class=\"card__title\">%s %s</span>\n  </a>\n</div>\n",
				g.word(), r.IntN(100000), g.word(), g.word(), r.IntN(1000), r.Uint32N(1<<24), g.phrase(), g.phrase(), g.word())
		}
	case 2:
		for range 3 + r.IntN(8) {
			b = fmt.Appendf(b, "    <li class=\"nav__item nav__item--level-%d\"><a class=\"nav__link\" href=\"/%s/%s\">%s</a></li>\n", r.IntN(3), g.word(), g.word(), g.phrase())
		}
	case 3:
		b = fmt.Appendf(b, "<h2 id=\"%s-%d\">%s</h2>\n", g.word(), r.IntN(1000), g.phrase())
	default:
		b = append(b, "<p>"...)
		for range 20 + r.IntN(60) {
			b = append(append(b, g.word()...), " ,. "[r.IntN(4)], ' ')
		}
		b = append(b, "</p>\n"...)
	}
	return b
}

// TestPage keeps the generated pages realistic: real ones of that size are
// compressed to between a third and a seventh.
func TestPage(t *testing.T) {
	for _, size := range benchSizes {
		text, stream := benchPage(size)
		if len(text) != size || len(stream) > size/3 || len(stream) < size/7 {
			t.Errorf("a page of %d bytes has %d, compressed %d", size, len(text), len(stream))
		}
		t.Logf("%d: %d", size, len(stream))
	}
}

// TestGrowth bounds by how much a splice makes a stream longer: by the piece as
// a gzip file of its own, and one in a hundred.
func TestGrowth(t *testing.T) {
	p := Prepare(script)
	own := len(encoders()[11].encode(script, nil))
	for _, size := range benchSizes {
		for _, e := range encoders() {
			text := page(newRand(uint64(size)), size)
			stream := e.encode(text, nil)
			for _, at := range []int{120, 400, 900} {
				out := checkSplice(t, stream, text, at, p)
				grown := len(out) - len(stream) - own
				if float64(grown) > 0.01*float64(len(stream)) {
					t.Errorf("%s, %d bytes at %d: %d grows by %d, with a piece of %d", e.name, size, at, len(stream), len(out)-len(stream), own)
				}
			}
		}
	}
}
