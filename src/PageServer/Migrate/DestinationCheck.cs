using System.Net;
using System.Net.Sockets;
using System.Text;
using PostCopy.Buffers;
using PostCopy.Certificates;
using PostCopy.Check;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>Asks the agent of another host what that host can do: <c>postcopy check --to</c>.</summary>
public static class DestinationCheck
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>
    /// The other host's own report. Throws <see cref="IOException"/> with a message for the user when no agent answers, it refuses, or it answers
    /// what is no report.
    /// </summary>
    /// <param name="agent">Where it listens.</param>
    /// <param name="tokenFile">See <see cref="MigrationOptions.TokenFile"/>.</param>
    /// <param name="tls">See <see cref="MigrationOptions.Tls"/>.</param>
    /// <param name="tlsName">See <see cref="MigrationOptions.TlsName"/>.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public static async Task<HostCheckReport> RunAsync(AgentEndpoint agent, string tokenFile, TlsFiles? tls, string? tlsName, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(agent);
        CheckReport answer = await AskAsync(agent, tokenFile, tls, tlsName, cancellation).ConfigureAwait(false);
        try
        {
            return HostCheckReport.Parse(Encoding.UTF8.GetBytes(answer.Json));
        }
        catch (InvalidDataException e)
        {
            throw new MigrationException($"the agent at {agent} answers what is no report: {e.Message}", e);
        }
    }

    /// <summary>The answer as it came.</summary>
    internal static async Task<CheckReport> AskAsync(AgentEndpoint agent, string tokenFile, TlsFiles? tls, string? tlsName, CancellationToken cancellation)
    {
        TlsDialling? dialling = TlsDialling.For(agent, tls, tlsName);
        AgentToken token = agent.UnixPath is not null ? AgentToken.None : AgentToken.Load(tokenFile);
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        deadline.CancelAfter(Patience);
        try
        {
            EndPoint[] endpoints = await agent.ResolveAsync(deadline.Token).ConfigureAwait(false);
            using PagePool pool = new();
            SocketLane lane = await Task.Factory.StartNew(
                () => LaneOpening.Dial(endpoints, LaneRole.Control, SessionToken.Create(), epoch: 1, token, pool, tls: dialling),
                deadline.Token,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default).ConfigureAwait(false);
            using ControlChannel control = new(lane, "check");
            control.Send(FrameKind.CheckRequest);
            CheckReport answer = await control.ReceiveAsync<CheckReport>(deadline.Token).ConfigureAwait(false);
            control.Close();
            return answer;
        }
        catch (SocketException e)
        {
            throw new MigrationException($"no agent answers at {agent} ({e.Message}): is 'postcopy agent' running there, and does it listen on that address?", e);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new MigrationException($"the agent at {agent} did not answer within {Patience.TotalSeconds} s");
        }
    }
}
