// Halvorsen & Bruecke portal - common functions
// 03/2001 tk   first version
// 11/2002 tk   NS 4.7 fix in hbGreeting

function hbGreeting() {
  var h = new Date().getHours();
  if (h < 5) return "Good night";
  if (h < 12) return "Good morning";
  if (h < 18) return "Good afternoon";
  return "Good evening";
}

function hbCheckEnquiry(form) {
  if (form.subject.value == "") {
    alert("Please tell us what your enquiry is about.");
    form.subject.focus();
    return false;
  }
  return true;
}

function hbStatus(text) {
  window.status = text;
  return true;
}
