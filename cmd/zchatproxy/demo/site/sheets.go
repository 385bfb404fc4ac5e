package site

import (
	"encoding/csv"
	"fmt"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// sheet is a page and how it is served.
type sheet struct {
	Page
	file        string           // its template
	charset     *charmap.Charmap // what its bytes are in; nil is UTF-8
	contentType string
	nav         bool // listed in the navigation of all pages
	static      bool // has validators, and nobody's name on it
	gzip        bool // compressed for those who accept it
	strict      bool // has a Content-Security-Policy with a nonce
	onlyPost    bool
	alsoPost    bool
	download    string // file name, for what is to be saved and not shown
}

func (s sheet) allow() string {
	switch {
	case s.onlyPost:
		return "POST"
	case s.alsoPost:
		return "GET, HEAD, POST"
	}
	return "GET, HEAD"
}

// sheets is the table of the site's pages.
func sheets() []sheet {
	latin1 := "text/html; charset=iso-8859-1" // which browsers read as windows-1252, and so does the encoder here
	manual := func(path, file string) sheet {
		return sheet{Page: Page{Path: "/manuals/" + path}, file: file, charset: charmap.Windows1252, contentType: latin1, static: true}
	}
	return []sheet{
		{
			Page: Page{"/", "Start page", "windows-1252, late <meta charset>",
				"Tables in tables. The charset is declared after a script and close to the thousandth byte: whatever comes before it must not push it out of the browser's sight."},
			file: "home.html", charset: charmap.Windows1252, contentType: "text/html", nav: true,
		}, {
			Page: Page{"/catalogue.html", "Catalogue", "gzip",
				"Leaves the site compressed. The script is put into the compressed stream, and the page stays compressed."},
			file: "catalogue.html", charset: charmap.Windows1252, contentType: latin1, nav: true, gzip: true,
		}, {
			Page: Page{"/orders.xhtml", "Your orders", "XHTML 1.0 as application/xhtml+xml",
				"A stray < or & anywhere and the browser shows an error instead of the page."},
			file: "orders.xhtml", charset: charmap.ISO8859_1, contentType: "application/xhtml+xml", nav: true,
		}, {
			Page: Page{"/notices.htm", "Notices", "no <html>, <head> or <body>",
				"HTML 4.01 allows it. There is no end of the head to look for: it has to be worked out."},
			file: "notices.html", charset: charmap.Windows1252, contentType: latin1, nav: true,
		}, {
			Page: Page{"/manuals/", "Manuals", "frameset",
				"The frameset gets the script, its frames do not: one chat per window is enough. Served with ETag and Last-Modified."},
			file: "manuals.html", charset: charmap.Windows1252, contentType: "text/html", nav: true, static: true,
		}, {
			Page: Page{"/gdynia.html", "Gdynia branch", "ISO-8859-2, quirks mode",
				"No doctype, and Polish letters that turn to something else when the late <meta> is missed."},
			file: "gdynia.html", charset: charmap.ISO8859_2, contentType: "text/html", nav: true,
		}, {
			Page: Page{"/help.html", "Help desk", "brings its own zESettings and widget",
				"Somebody pasted the chat in years ago. Both configurations are merged; the authentication comes from the proxy."},
			file: "help.html", contentType: "text/html", nav: true,
		}, {
			Page: Page{"/account.html", "Your account", "Content-Security-Policy with a nonce",
				"Refuses every script without this response's nonce. The policy is changed just enough for ours, and for the widget."},
			file: "account.html", contentType: "text/html; charset=utf-8", nav: true, strict: true, alsoPost: true,
		}, {
			Page: Page{"/enquiry.html", "Write to us", "form, posted in windows-1252",
				"The answer to a POST gets the script too, and the posted bytes arrive as they were."},
			file: "enquiry.html", charset: charmap.Windows1252, contentType: "text/html", nav: true,
		}, {
			Page: Page{"/export/price-list.xls", "Price list (Excel)", "HTML as a download",
				"An HTML table called .xls, as one did. It is saved and not shown, so it stays as it is."},
			file: "price-list.html", charset: charmap.Windows1252, contentType: "text/html", download: "price-list.xls", static: true,
		},
		{Page: Page{Path: "/cgi-bin/enquiry.pl"}, file: "thanks.html", charset: charmap.Windows1252, contentType: "text/html", onlyPost: true},
		manual("toc.html", "manuals-toc.html"),
		manual("welcome.html", "manuals-welcome.html"),
		manual("lantern.html", "manuals-lantern.html"),
		manual("rope.html", "manuals-rope.html"),
		manual("barometer.html", "manuals-barometer.html"),
	}
}

// article is a line of the catalogue.
type article struct{ Section, Number, Name, Unit, Euro string }

// order is what a customer has ordered.
type order struct {
	Number, Date, Goods, State string
	Open                       bool
	Euro                       string
}

func loadCatalogue() ([]article, error) {
	rows, err := readCSV("data/catalogue.csv", 5)
	if err != nil {
		return nil, err
	}
	var list []article
	for _, row := range rows {
		list = append(list, article{row[0], row[1], row[2], row[3], row[4]})
	}
	return list, nil
}

func loadOrders() (map[string][]order, error) {
	rows, err := readCSV("data/orders.csv", 7)
	if err != nil {
		return nil, err
	}
	byCustomer := make(map[string][]order)
	for _, row := range rows {
		byCustomer[row[0]] = append(byCustomer[row[0]], order{row[1], row[2], row[3], row[4], row[5] == "open", row[6]})
	}
	return byCustomer, nil
}

// readCSV reads an embedded table whose rows have the given number of fields. Quotation marks in it are text.
func readCSV(name string, fields int) ([][]string, error) {
	content, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	in := csv.NewReader(strings.NewReader(string(content)))
	in.Comma, in.LazyQuotes, in.FieldsPerRecord = ';', true, fields
	rows, err := in.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("site: reading %s: %w", name, err)
	}
	return rows, nil
}
