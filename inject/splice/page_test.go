package splice

import (
	"fmt"
	"math/rand/v2"
)

// page makes a page of about n bytes that compresses like a real one (about
// 4:1 to 5:1): markup that repeats, with words, numbers and names that do not.
func page(r *rand.Rand, n int) []byte {
	const vowels, consonants = "aeiou", "bcdfghklmnprstvw"
	words := make([]string, 600)
	for i := range words {
		var w []byte
		for range 1 + r.IntN(3) {
			w = append(w, consonants[r.IntN(len(consonants))], vowels[r.IntN(len(vowels))])
			if r.IntN(2) == 0 {
				w = append(w, consonants[r.IntN(len(consonants))])
			}
		}
		words[i] = string(w)
	}
	word := func() string { // a few of them often
		f := r.Float64()
		return words[int(f*f*f*float64(len(words)))]
	}
	b := fmt.Appendf(nil, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s %s</title>\n", word(), word())
	for range min(8, n/200) {
		b = fmt.Appendf(b, "<link rel=\"stylesheet\" href=\"/assets/%s-%08x.css\" media=\"all\">\n", word(), r.Uint32())
	}
	b = append(b, "</head>\n<body class=\"home\">\n"...)
	for len(b) < n {
		switch r.IntN(6) {
		case 0:
			b = fmt.Appendf(b, "<h2 id=\"%s-%d\">%s %s %s</h2>\n", word(), r.IntN(1000), word(), word(), word())
		case 1:
			b = fmt.Appendf(b, "<div class=\"card card--%s\" data-id=\"%d\"><a href=\"/%s/%s-%d\"><img src=\"/img/%06x.jpg\" alt=\"%s %s\" width=\"%d\"></a></div>\n",
				word(), r.IntN(100000), word(), word(), r.IntN(1000), r.Uint32N(1<<24), word(), word(), 100+r.IntN(900))
		case 2:
			b = fmt.Appendf(b, "<li class=\"nav__item\"><a class=\"nav__link\" href=\"/%s\">%s %s</a></li>\n", word(), word(), word())
		default:
			b = append(b, "<p>"...)
			for range 10 + r.IntN(40) {
				b = append(append(b, word()...), " ,. "[r.IntN(4)])
				b = append(b, ' ')
			}
			b = append(b, "</p>\n"...)
		}
	}
	return append(b[:max(0, min(len(b), n-15))], "</body>\n</html>\n"[:min(n, 15)]...)
}
