package inject_test

import (
	"fmt"
	"io"
	"os"
	"strings"

	"zchatproxy/inject"
)

func Example() {
	page := "<!DOCTYPE html>\n<title>Shop</title>\n<meta charset=utf-8>\n<script src=widget.js></script>\n<p>Welcome\n"
	doc := inject.Open(inject.Source{Body: io.NopCloser(strings.NewReader(page))})
	place, err := doc.Locate()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("at %d, before %s\n", place.Offset, place.Before)
	body := doc.Insert(inject.NewElement([]byte(`<script data-zchatproxy="">…</script>`)))
	defer body.Close()
	io.Copy(os.Stdout, body)
	// Output:
	// at 57, before <script>
	// <!DOCTYPE html>
	// <title>Shop</title>
	// <meta charset=utf-8>
	// <script data-zchatproxy="">…</script><script src=widget.js></script>
	// <p>Welcome
}

func ExampleDocument_Pass() {
	doc := inject.Open(inject.Source{Body: io.NopCloser(strings.NewReader("<li>one more item</li>"))})
	place, err := doc.Locate()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(place.Reason)
	io.Copy(os.Stdout, doc.Pass())
	// Output:
	// fragment
	// <li>one more item</li>
}
