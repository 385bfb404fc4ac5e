# Verifies tokens with ruby-jwt; see README.md.
require 'jwt'
require 'base64'
require 'json'

secret = File.binread(ARGV[0])
$stdout.sync = true
$stdin.each_line do |line|
  token = Base64.strict_decode64(line.strip)
  begin
    claims, = JWT.decode(token, secret, true,
                         algorithm: 'HS256', verify_iat: true, verify_expiration: true, verify_not_before: true)
    puts "accept #{Base64.strict_encode64(JSON.generate(claims))}"
  rescue StandardError => e
    puts "reject #{e.class}: #{e.message.lines.first}"
  end
end
