// A registry with the referrers API, from go-containerregistry's own tests' registry.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if len(os.Args) != 2 || os.Args[1] == "--help" {
		fmt.Fprintln(os.Stderr, "registry ADDRESS")
		os.Exit(0)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		err = http.Serve(listener, registry.New(registry.WithReferrersSupport(true)))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
