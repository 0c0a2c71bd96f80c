// A client of Fulcio's version 1 with Fulcio's own package, which sends the key as gitsign does: in DER.
//
//	fulcio_client URL TOKEN SUBJECT
//
// It prints the certificate after verifying it with the roots that the service names.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"

	"github.com/sigstore/fulcio/pkg/api"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Println("fulcio_client URL TOKEN SUBJECT")
		return
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(origin, token, subject string) error {
	base, err := url.Parse(origin)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(subject))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return err
	}
	client := api.NewClient(base)
	answer, err := client.SigningCert(api.CertificateRequest{
		PublicKey:          api.Key{Content: public, Algorithm: "ecdsa"},
		SignedEmailAddress: proof,
	}, token)
	if err != nil {
		return err
	}
	roots, err := client.RootCert()
	if err != nil {
		return err
	}
	block, _ := pem.Decode(answer.CertPEM)
	if block == nil {
		return errors.New("no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the certificate has another key")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots.ChainPEM) {
		return errors.New("no roots")
	}
	intermediates := x509.NewCertPool()
	intermediates.AppendCertsFromPEM(answer.ChainPEM)
	options := x509.VerifyOptions{
		Roots:         pool,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	fmt.Print(string(answer.CertPEM))
	return nil
}
